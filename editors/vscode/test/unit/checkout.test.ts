import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';

import { RECORD, carryOut, plan } from '../../src/checkout.js';
import type { TreeEntry } from '../../src/sync.js';

/** Files of a step, as host and tree. */
type Step = Record<string, string>;

async function folder(t: TestContext): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'everlink-work-'));
    t.after(() => rm(path, { recursive: true, force: true }));
    return path;
}

const tree = (step: Step): TreeEntry[] => Object.entries(step).map(([path, text]) => ({ path, size: text.length, hash: `h(${text})`, executable: path.endsWith('.sh') }));
const looked = (root: string, step: Step, unsaved?: Set<string>) => plan(root, tree(step), async (path) => Buffer.from(step[path]!), unsaved);
const checkOut = async (root: string, step: Step, replace = false) => {
    const planned = await looked(root, step);
    return { ...planned, ...(await carryOut(planned, replace)) };
};
const read = (root: string, path: string) => readFile(join(root, path), 'utf8');

test('files are written, updated and removed with the steps', async (t) => {
    const root = join(await folder(t), 'new');
    const first = await checkOut(root, { 'a.txt': '1', 'src/b.txt': '1', 'run.sh': 'x' });
    assert.equal(first.written, 3);
    assert.equal((await stat(join(root, 'run.sh'))).mode & 0o100, 0o100);
    assert.equal((await stat(join(root, 'a.txt'))).mode & 0o111, 0);

    const second = await checkOut(root, { 'a.txt': '2', 'c.txt': '1' });
    assert.deepEqual([second.written, second.removed], [2, 2]);
    assert.equal(await read(root, 'a.txt'), '2');
    assert.deepEqual((await readdir(root)).sort(), ['.everlink', 'a.txt', 'c.txt'], 'and folders that became empty are gone');

    const third = await looked(root, { 'a.txt': '2', 'c.txt': '1' });
    assert.deepEqual([third.write.length, third.same], [0, 2]);
});

test('what is there already is asked for once only', async (t) => {
    const root = await folder(t);
    await checkOut(root, { 'a.txt': '1' });
    await plan(root, tree({ 'a.txt': '1' }), () => assert.fail('nothing needs to be read'));
});

test('changes of the user stay, unless told otherwise', async (t) => {
    const root = await folder(t);
    await writeFile(join(root, 'mine.txt'), 'mine');
    await checkOut(root, { 'a.txt': '1', 'gone.txt': '1' });
    await writeFile(join(root, 'a.txt'), 'my work');
    await writeFile(join(root, 'gone.txt'), 'my work, too');

    const step = { 'a.txt': '2', 'mine.txt': 'theirs' };
    const kept = await checkOut(root, step);
    assert.deepEqual(kept.changed.map(({ path }) => path), ['a.txt', 'mine.txt']);
    assert.deepEqual([kept.written, kept.removed], [0, 0]);
    assert.equal(await read(root, 'a.txt'), 'my work');
    assert.equal(await read(root, 'mine.txt'), 'mine');
    assert.equal(await read(root, 'gone.txt'), 'my work, too');

    // They are still known as changed at the next step.
    assert.equal((await looked(root, { 'a.txt': '3' })).changed.length, 1);
    const replaced = await checkOut(root, step, true);
    assert.equal(replaced.written, 2);
    assert.equal(await read(root, 'mine.txt'), 'theirs');
});

test('a file that is not saved yet counts as changed', async (t) => {
    const root = await folder(t);
    await checkOut(root, { 'a.txt': '1' });
    const planned = await looked(root, { 'a.txt': '2' }, new Set(['a.txt']));
    assert.deepEqual([planned.write.length, planned.changed.length], [0, 1]);
});

test('a file that changes after the plan was made is left alone', async (t) => {
    const root = await folder(t);
    const planned = await looked(root, { 'a.txt': '1' });
    await writeFile(join(root, 'a.txt'), 'just typed');
    const { written, late } = await carryOut(planned, true);
    assert.deepEqual([written, late], [0, ['a.txt']]);
    assert.equal(await read(root, 'a.txt'), 'just typed');
});

test('nothing is written outside of the folder, nor in .git', async (t) => {
    const above = await folder(t);
    const root = join(above, 'work');
    const bad = {
        '../up.txt': 'x', '/tmp/everlink-absolute.txt': 'x', 'a/../../up.txt': 'x', '.git/hooks/post-checkout': 'x', 'sub/.GIT/config': 'x',
        'GIT~1/config': 'x', '.g\u200cit/config': 'x', 'C:/x': 'x', 'a\\..\\x': 'x', 'a//b': 'x', './c': 'x', 'nul.txt': 'x', 'dot.': 'x',
        '.everlink/checkout.json': '{}', 'line\nbreak': 'x', '': 'x', '\ud800': 'x', '.\u200b.': 'x',
    };
    const done = await checkOut(root, { ...bad, 'good.txt': '1', '.gitignore': 'target' });
    assert.deepEqual(done.skipped.map(({ path }) => path).sort(), Object.keys(bad).sort());
    assert.equal(done.written, 2);
    assert.deepEqual((await readdir(above)).sort(), ['work']);
    assert.deepEqual((await readdir(root)).sort(), ['.everlink', '.gitignore', 'good.txt']);
});

test('links, folders and files in the way are not followed or replaced', async (t) => {
    const above = await folder(t);
    const root = join(above, 'work');
    await mkdir(join(root, 'folder'), { recursive: true });
    await mkdir(join(above, 'elsewhere'));
    await writeFile(join(above, 'secret'), 'mine');
    await symlink(join(above, 'elsewhere'), join(root, 'dir'));
    await symlink(join(above, 'secret'), join(root, 'link.txt'));
    await symlink(join(above, 'not-there'), join(root, 'dangling.txt'));
    await writeFile(join(root, 'file'), 'mine');
    const done = await checkOut(root, { 'dir/x': '1', 'link.txt': '1', 'dangling.txt': '1', folder: '1', 'file/x': '1', ok: '1' }, true);
    assert.equal(done.written, 1);
    assert.deepEqual(done.skipped.map(({ path }) => path).sort(), ['dangling.txt', 'dir/x', 'file/x', 'folder', 'link.txt']);
    assert.equal(await read(above, 'secret'), 'mine');
    assert.deepEqual(await readdir(join(above, 'elsewhere')), []);
    assert.deepEqual((await readdir(above)).sort(), ['elsewhere', 'secret', 'work']);
});

test('a link that takes the place of a folder after the plan was made is not followed', async (t) => {
    const above = await folder(t);
    const root = join(above, 'work');
    await mkdir(join(above, 'elsewhere'));
    await mkdir(root);
    const planned = await looked(root, { 'dir/x': '1' });
    await symlink(join(above, 'elsewhere'), join(root, 'dir'));
    assert.deepEqual((await carryOut(planned, true)).late, ['dir/x']);
    assert.deepEqual(await readdir(join(above, 'elsewhere')), []);
});

test('a file of one step becomes a folder of the next, and back', async (t) => {
    const root = await folder(t);
    await checkOut(root, { thing: '1' });
    const done = await checkOut(root, { 'thing/inside': '2' });
    assert.deepEqual([done.written, done.removed, done.skipped.length], [1, 1, 0]);
    assert.equal(await read(root, 'thing/inside'), '2');
});

test('two names that are one where case does not count, and what is too large, are left out', async (t) => {
    const root = await folder(t);
    const entries = [...tree({ A: '1', a: '2', B: '3', 'b/c': '4' }), { path: 'large', size: (1 << 20) + 1, hash: 'l' }];
    const planned = await plan(root, entries, async () => Buffer.from('x'));
    assert.deepEqual(planned.write.map(({ path }) => path), ['A', 'B']);
    assert.deepEqual(planned.skipped.map(({ path }) => path), ['a', 'b/c', 'large']);
});

test('a file that cannot be had is left out, and the host’s end ends it', async (t) => {
    const root = await folder(t);
    const failing = (code: string) => plan(root, tree({ a: '1', b: '2' }), async (path) => (path === 'a' ? Promise.reject(Object.assign(new Error('no'), { code })) : Buffer.from('2')));
    const planned = await failing('too-large');
    assert.deepEqual([planned.write.map(({ path }) => path), planned.skipped.map(({ path }) => path)], [['b'], ['a']]);
    await assert.rejects(failing('closed'), { code: 'closed' });
});

test('a record that somebody damaged is an error that says what to do', async (t) => {
    const root = await folder(t);
    for (const text of ['', '{', '[]', '{"version":2,"files":{}}', '{"version":1,"files":{"a":1}}', '{"version":1}']) {
        await mkdir(join(root, '.everlink'), { recursive: true });
        await writeFile(join(root, RECORD), text);
        await assert.rejects(looked(root, { a: '1' }), { code: 'bad-record' }, text);
    }
});

test('a record that names files elsewhere removes nothing there', async (t) => {
    const above = await folder(t);
    const root = join(above, 'work');
    await checkOut(root, { a: '1' });
    await writeFile(join(above, 'victim'), '1');
    const record = JSON.parse(await read(root, RECORD)) as { files: Record<string, unknown> };
    record.files['../victim'] = record.files['a'];
    await writeFile(join(root, RECORD), JSON.stringify(record));
    assert.equal((await checkOut(root, {})).removed, 1);
    assert.equal(await read(above, 'victim'), '1');
});

test('too many files are refused at once', async (t) => {
    const many = Array.from({ length: 20_001 }, (_, at) => ({ path: `f${at}`, size: 1, hash: 'x' }));
    await assert.rejects(plan(await folder(t), many, () => assert.fail()), { code: 'too-many' });
});

test('a folder that cannot be written is an error, and a file in its place, too', async (t) => {
    const root = await folder(t);
    await writeFile(join(root, 'file'), '');
    await assert.rejects(looked(join(root, 'file'), { a: '1' }), { code: 'no-folder' });
    if (process.getuid?.() === 0) return;
    await chmod(root, 0o500);
    await assert.rejects(checkOut(root, { a: '1' }), { code: 'EACCES' });
});
