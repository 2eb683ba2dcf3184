// The judge of the other tests sees what it is there for.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { RESTART, check } from './harness.mjs';

test('the judge', () => {
    check('all', 3, ['0 ', '1 ', '2 ']);
    check('some of which may or may not have been sent', [0, 3], ['0', '1', '3']);
    check('again after a restart', 3, ['0', '1', RESTART, '1', '2']);
    const wrong = {
        lost: [3, ['0', '2']],
        doubled: [2, ['0', '0', '1']],
        reordered: [3, ['1', '0', '2']],
        invented: [2, ['0', '1', '2']],
        'no number': [1, ['0', 'x']],
        'doubled after a restart': [2, ['0', RESTART, '0', '0', '1']],
        'reordered after a restart': [3, ['0', RESTART, '2', '1']],
    };
    for (const [what, [owed, received]] of Object.entries(wrong)) assert.throws(() => check(what, owed, received), what);
});
