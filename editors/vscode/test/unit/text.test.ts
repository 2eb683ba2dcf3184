import assert from 'node:assert/strict';
import test from 'node:test';

import { unapply } from '../../src/diff.js';
import { UserError, wording } from '../../src/errors.js';
import { formatLink, parseLink } from '../../src/link.js';
import { dataUrl, picturesOf, renderMarkdown } from '../../src/markdown.js';
import { ContentStore } from '../../src/store.js';
import { FakeContent } from '../fake/room.js';

const uuid = '0b0f7b26-51f1-4b39-9f0a-1c2d3e4f5a6b';

test('links in all their forms', () => {
    const room = { server: 'https://signal.example.org', uuid };
    assert.deepEqual(parseLink(` everlink://${uuid}?server=https%3A%2F%2Fsignal.example.org `, ''), room);
    assert.deepEqual(parseLink(`everlink://${uuid.toUpperCase()}/?server=https://signal.example.org/`, 'http://other'), room);
    assert.deepEqual(parseLink(`https://signal.example.org/tutorial#${uuid}`, ''), room);
    assert.deepEqual(parseLink(`https://signal.example.org/tutorial/#${uuid}`, ''), room);
    assert.deepEqual(parseLink(`https://example.org/below/it/tutorial#${uuid}`, ''), { server: 'https://example.org/below/it', uuid });
    assert.deepEqual(parseLink(uuid, 'https://signal.example.org/'), room);
    assert.deepEqual(parseLink(`everlink://${uuid}`, 'https://signal.example.org'), room);
    assert.deepEqual(parseLink(formatLink(room), ''), room);
});

test('what is no link is told, and why', () => {
    for (const bad of ['', 'hello', 'everlink://', `everlink://${uuid}0`, `ftp://x/tutorial#${uuid}`, `https://x/other#${uuid}`, `https://x/tutorial#${uuid.slice(1)}`, 'javascript:alert(1)']) {
        assert.throws(() => parseLink(bad, 'https://x'), { code: 'bad-link' }, bad);
    }
    assert.throws(() => parseLink(uuid, ''), { code: 'no-server' });
    assert.throws(() => parseLink(uuid, 'signal.example.org'), { code: 'bad-server' });
    assert.throws(() => parseLink(`everlink://${uuid}?server=file:///etc/passwd`, ''), { code: 'bad-server' });
    assert.throws(() => parseLink(`everlink://${uuid}?server=https://user:word@x`, ''), { code: 'bad-server' });
});

test('a lesson has no markup of its own', () => {
    const bad = [
        '<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '[a](javascript:alert(1))', '[a](data:text/html,x)', '![a](https://tracker.example/x.png)',
        '![" onclick="x](https://x/")', '[a](x" onclick="y)', '<iframe src="https://x"></iframe>', '[a](vbscript:x)', '```js" onclick="x\n1\n```', '[a](command:everlink.leave)',
    ];
    for (const text of bad) {
        const html = renderMarkdown(text);
        assert.doesNotMatch(html, /<(script|img|iframe)|(href|src)="(?!https:)|<[^>]* on\w+="/i, text);
    }
});

test('a lesson is rendered', () => {
    const html = renderMarkdown('# A\n\n- [x] done\n\n```rust\nfn main() {}\n```\n\n| a |\n| - |\n| b |\n\nhttps://example.org');
    assert.match(html, /<h1>A<\/h1>/);
    assert.match(html, /☑ done/);
    assert.match(html, /hljs-keyword/);
    assert.match(html, /<table>/);
    assert.match(html, /<a href="https:\/\/example.org">/);
    assert.match(renderMarkdown('x'.repeat(600_000)), /too long to be shown/);
});

test('the text before a change', () => {
    const cases: [string, string, string][] = [
        ['a\nb\nc\n', 'a\nB\nc\n', '@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n'],
        ['', 'a\n', '@@ -0,0 +1 @@\n+a\n'],
        ['a\n', '', '@@ -1 +0,0 @@\n-a\n'],
        ['a', 'a\n', '@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n'],
        ['1\n2\n3\n4\n5\n6\n7\n8\n9\n', '1\n3\n4\n5\n6\n7\n8\n8.5\n9\n', '@@ -1,3 +1,2 @@ fn x()\n 1\n-2\n 3\n@@ -8,2 +7,3 @@\n 8\n+8.5\n 9\n'],
        ['a\r\nb\r\n', 'a\r\nc\r\n', '@@ -1,2 +1,2 @@\n a\r\n-b\r\n+c\r\n'],
    ];
    for (const [before, after, diff] of cases) assert.equal(unapply(after, diff), before, diff);
    assert.equal(unapply('other\n', '@@ -1 +1 @@\n-a\n+b\n'), undefined);
    assert.equal(unapply('b\n', 'rubbish'), undefined);
    assert.equal(unapply('b\n', '@@ -1 +9 @@\n-a\n+b\n'), undefined);
});

test('errors have words', () => {
    assert.equal(wording(new UserError('x', 'Do this.')), 'Do this.');
    assert.equal(wording(new Error('the room was closed')), 'The room was closed.');
    assert.equal(wording(Object.assign(new Error('not ours'), { code: 'service-not-found' })), 'There is no tutorial under this link: it has ended, or the link is another server’s.');
    assert.equal(wording(Object.assign(new Error('rate'), { code: 'rate-limited', hint: 'wait a minute' })), 'Rate. Wait a minute.');
    assert.equal(wording(undefined), 'Something went wrong that has no description.');
});

test('content is asked for once, failures again, and bad names never', async () => {
    const content = new FakeContent();
    const store = new ContentStore(async () => content);
    await Promise.all([store.page(2, false), store.page(2, false)]);
    assert.deepEqual(content.asked, ['step 2']);
    await assert.rejects(store.file(2, 'absent'));
    await assert.rejects(store.file(2, 'absent'));
    await assert.rejects(store.file(2, '../etc/passwd'), { code: 'bad-path' });
    assert.deepEqual(content.asked, ['step 2', 'file 2 absent', 'file 2 absent']);

    const page = await store.page(3, false);
    const before = await store.before(page, page.files[0]!);
    assert.equal(Buffer.from(before).toString(), 'mod name;\n\nfn main() {\n    // TODO: greet\n}\n');
    assert.equal((await store.before(page, page.files[1]!)).length, 0);
});

test('a page does not bring names that climb', async () => {
    const content = new FakeContent();
    const step = content.step.bind(content);
    content.step = async (index) => ({ ...(await step(index)), files: [{ path: '../x', status: 'added' }, { path: 'ok', status: 'added' }, { path: 'y', oldPath: '/etc/passwd', status: 'renamed' }] });
    const store = new ContentStore(async () => content);
    assert.deepEqual((await store.page(0, false)).files.map(({ path }) => path), ['ok']);
});

test('pictures of the tutorial are shown, others are links', () => {
    const text = '![a](./img/a%20b.png?raw=1) ![b](../up.png) ![c](/abs.png) ![d](https://x/d.png) ![e](run.sh) ![f](data:image/png;base64,AA) ![g](%E0%A4%A) ![h](.git/h.png)';
    const found = picturesOf(text);
    assert.deepEqual([...found], [['./img/a%20b.png?raw=1', 'img/a b.png']]);
    const html = renderMarkdown(text, new Map([['./img/a%20b.png?raw=1', dataUrl('img/a b.png', Buffer.from('x'))]]));
    assert.equal(html.match(/<img/g)?.length, 1);
    assert.match(html, /<img src="data:image\/png;base64,eA==" alt="a">/);
    assert.match(html, /<a class="picture" href="https:\/\/x\/d.png">d<\/a>/);
});
