// Rooms as people use them: a terminal that hosts, and the page /tutorial in Chromium.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { test } from 'node:test';

import { browser, profile, scoped, signaling, web } from './harness.mjs';
import { at, button, host, join, open, role } from './tutorial/room.mjs';

const settings = { timeout: 120_000 };
const epoch = (page) => page.evaluate(() => globalThis.everlinkTutorial.sync.epoch);
const me = (page) => page.evaluate(() => globalThis.everlinkTutorial.sync.me);

test('a terminal leads and a page follows; the lead goes to the page and back', settings, scoped(async (scope) => {
    const { url, told, say } = await host(scope);
    const page = await join(await open(await profile(scope, await browser(scope)), url), 'Grace');
    await role(page, 'following');
    await page.getByText('Ada leads', { exact: true }).waitFor();
    await at(page, '0');
    await page.locator('.prose').getByText('We write a program that').waitFor();
    say('next');
    say('next');
    await at(page, '2');
    await page.getByRole('cell', { name: '// TODO' }).waitFor();
    say('solution');
    await at(page, '2s');
    await page.getByRole('cell', { name: 'println!' }).first().waitFor();
    say('next');
    await at(page, '4');

    say('offer');
    await page.getByRole('alert').getByRole('button', { name: 'Take the lead' }).click();
    await role(page, 'leading');
    await told('leader', ({ name }) => name === 'Grace');
    // It begins where the one before stopped.
    await at(page, '4');
    await page.keyboard.press('ArrowLeft');
    await told('step', ({ index, solution }) => index === 2 && !solution);
    await page.keyboard.press('s');
    await told('step', ({ index, solution }) => index === 2 && solution);

    await button(page, 'Hand over').click();
    await page.getByRole('dialog').getByRole('button', { name: 'Ada' }).click();
    await told('offer');
    say('decline');
    await page.getByText(/Ada declined/).first().waitFor();
    await role(page, 'leading');
    await button(page, 'Give back').click();
    await role(page, 'following');
    // The page knows before the terminal does.
    await told('phase', ({ phase }) => phase === 'active');
    say('goto 6');
    await at(page, '5');
    assert.deepEqual(page.wrong, []);
}));

test('who leads is asked for the lead, and says yes or no', settings, scoped(async (scope) => {
    const { url, told, say } = await host(scope, { args: ['--strategy', 'ask'] });
    const page = await join(await open(await profile(scope, await browser(scope)), url), 'Grace');
    await button(page, 'Ask to lead').click();
    await told('request', ({ name }) => name === 'Grace');
    say('decline');
    await page.getByText(/enied/).first().waitFor();
    await role(page, 'following');
    await button(page, 'Ask to lead').click();
    await told('request', ({ name }) => name === 'Grace');
    say('accept');
    await role(page, 'leading');
    say('request I want to show something');
    await page.getByText('“I want to show something”').waitFor();
    await button(page, 'Hand it over').click();
    await role(page, 'following');
    await told('phase', ({ phase }) => phase === 'active');
    say('release');
    await role(page, 'idle');
    await button(page, 'Next').click();
    await button(page, 'Lead from here').click();
    await role(page, 'leading');
    await told('step', ({ index }) => index === 1);
    assert.deepEqual(page.wrong, []);
}));

test('a link that is cut for a while: shown, the lead kept, and only the newest step sent', settings, scoped(async (scope) => {
    const { url, told, say, terminal } = await host(scope);
    const context = await profile(scope, await browser(scope));
    const page = await join(await open(context, url), 'Grace');
    say('offer');
    await page.getByRole('button', { name: 'Take the lead' }).click();
    await role(page, 'leading');
    await page.keyboard.press('j');
    await told('step', ({ index }) => index === 1);
    const before = await epoch(page);

    await context.setOffline(true);
    assert.ok((await page.evaluate(() => globalThis.cut())) > 0);
    await page.getByText('Connection lost.').waitFor();
    await role(page, 'leading');
    const seen = terminal.lines.length;
    for (const place of ['2', '4', '5']) {
        await page.keyboard.press('j');
        await page.waitForFunction((place) => document.body.dataset.place === place, place);
    }
    // What was not read ahead comes when the link is back, and says so.
    await page.getByText('when the connection is back').waitFor();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await context.setOffline(false);
    await page.getByText('Connection lost.').waitFor({ state: 'hidden' });
    await told('step', ({ index }) => index === 5);
    await at(page, '5');
    const steps = terminal.lines.slice(seen).map((line) => JSON.parse(line)).filter(({ event }) => event === 'step').map(({ index }) => index);
    assert.deepEqual(steps, [5], 'older steps were sent again');
    assert.equal(await epoch(page), before);
    await role(page, 'leading');

    // As a follower: what the leader did meanwhile is there at once.
    await button(page, 'Give back').click();
    await role(page, 'following');
    // The page knows before the terminal does.
    await told('phase', ({ phase }) => phase === 'active');
    await context.setOffline(true);
    await page.evaluate(() => globalThis.cut());
    await page.getByText('Connection lost.').waitFor();
    say('goto 2');
    say('goto 3');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await at(page, '5');
    await context.setOffline(false);
    await at(page, '2');
    await page.evaluate(() => globalThis.cut());
    say('goto 1');
    await at(page, '0');
}));

test('a reload comes back to the same place with the same role', settings, scoped(async (scope) => {
    const { url, told, say } = await host(scope);
    const page = await join(await open(await profile(scope, await browser(scope)), url), 'Grace');
    const who = await me(page);
    say('next');
    await at(page, '1');
    await page.reload();
    await role(page, 'following');
    await at(page, '1');
    assert.equal(await me(page), who);
    say('offer');
    await page.getByRole('button', { name: 'Take the lead' }).click();
    await role(page, 'leading');
    await page.keyboard.press('j');
    await at(page, '2');
    await told('step', ({ index }) => index === 2);
    await page.reload();
    await role(page, 'leading');
    await at(page, '2');
    assert.equal(await me(page), who);
    await page.keyboard.press('j');
    await told('step', ({ index }) => index === 4);
    // Whoever leaves is asked before they come back.
    await button(page, 'Leave the room').click();
    await page.getByText('You have left the room.').waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'You are invited' }).waitFor();
    assert.equal(await page.getByLabel(/Your name/).inputValue(), 'Grace');
    assert.deepEqual(page.wrong, []);
}));

test('observers, a second tab, a full room, and the end of a room', settings, scoped(async (scope) => {
    const { url, told, say, terminal } = await host(scope, { args: ['--limit', '3'] });
    const chrome = await browser(scope);
    const context = await profile(scope, chrome);
    const page = await join(await open(context, url), 'Grace', { observer: true });
    await page.getByText('You are watching').waitFor();
    assert.equal(await button(page, 'Ask to lead').count(), 0);
    say('next');
    await at(page, '1');
    // The same browser, in another tab: somebody else.
    const other = await join(await open(context, url), 'Grace too');
    await other.getByText('Another tab of this browser is in this room').first().waitFor();
    assert.notEqual(await me(other), await me(page));
    await page.getByRole('complementary').getByText('Grace too').waitFor();
    const third = await open(await profile(scope, chrome), url);
    await third.getByRole('button', { name: 'Join' }).click();
    await third.getByText('The room is full').waitFor();
    await other.close();
    await told('member', ({ change, name }) => change !== 'joined' && name === 'Grace too');
    terminal.process.stdin.write('quit\n');
    await page.getByText(/^The room is (closed|gone)/).waitFor();
    await page.getByRole('button', { name: 'Join' }).waitFor();
}));

test('links that lead nowhere say so', settings, scoped(async (scope) => {
    const { server, uuid, terminal } = await host(scope);
    const chrome = await browser(scope);
    const context = await profile(scope, chrome);
    const page = await open(context, `${server}/tutorial#not-a-room`);
    await page.getByText('This link is not complete').waitFor();
    await page.getByLabel(/Link to the room/).fill('https://example.org/');
    await button(page, 'Join').click();
    await page.getByText('This is no link to a room').waitFor();
    await page.getByLabel(/Link to the room/).fill('');
    await button(page, 'Join').click();
    await page.getByText('Paste the link that you were given').waitFor();
    await page.getByLabel(/Link to the room/).fill(uuid.replace(/^./, (digit) => (digit === '0' ? '1' : '0')));
    await button(page, 'Join').click();
    await page.getByText('There is no such room now').waitFor();
    await page.goto('about:blank');
    await page.goto(`${server}/tutorial`);
    await page.getByRole('heading', { name: 'Join a tutorial' }).waitFor();
    await page.getByLabel(/Link to the room/).fill(`everlink://${uuid}?server=${encodeURIComponent(server)}`);
    await button(page, 'Join').click();
    await role(page, 'following');
    assert.equal(new URL(page.url()).hash, `#${uuid}`);

    // A host that is gone without a word: the server still knows of it.
    await terminal.stop('SIGKILL');
    await page.getByText('Connection lost.').waitFor();
    const late = await open(await profile(scope, chrome), `${server}/tutorial#${uuid}`);
    await button(late, 'Join').click();
    await late.getByText('does not answer yet').waitFor();
    await button(late, 'Cancel').click();
    await button(late, 'Join').waitFor();
}));

test('a hostile repository is shown, and harms nobody', settings, scoped(async (scope) => {
    const evil = '<img src=x onerror=globalThis.hacked=1>';
    const { url } = await host(scope, {
        steps: [[`action: ${evil}<script>globalThis.hacked=2</script>`, {
            'README.md': `# x\n\n<script>globalThis.hacked=3</script>${evil}\n\n[one](javascript:globalThis.hacked=4) ![two](https://elsewhere.example/spy.png) ![mine](art.svg)\n\n<iframe srcdoc="<script>parent.hacked=5</script>"></iframe>\n`,
            [`src/${evil}.js`]: '</td><script>globalThis.hacked=6</script>\n',
            'art.svg': '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="globalThis.hacked=7"><script>globalThis.hacked=8</script></svg>',
        }]],
    });
    const page = await join(await open(await profile(scope, await browser(scope)), url), evil);
    await at(page, '0');
    await page.locator('.prose img').waitFor();
    assert.match(await page.locator('.prose img').getAttribute('src'), /^blob:/);
    await page.getByText('</td>').waitFor();
    assert.match(await page.locator('#article h1').textContent(), /^<img src=x/);
    assert.ok((await page.locator('.file .path').allTextContents()).some((path) => path.includes('<img')));
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
    assert.equal(await page.locator('#article :is(script, iframe)').count(), 0);
    for (const link of await page.locator('#article a').all()) assert.match(await link.getAttribute('href'), /^https:/);
    assert.deepEqual(page.wrong.filter((line) => !/Content Security Policy.*The action has been blocked/s.test(line)), []);
}));

test('in Node: a room, its host and a member; every call, and every refusal', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const example = `${web}/test/build/node/tutorial.mjs`;
    copyFileSync(`${web}/test/tutorial/node.mjs`, example);
    const run = await new Promise((resolve) => execFile('node', [example, server], { timeout: 60_000 }, (error, out, wrong) => resolve({ error, out, wrong })));
    assert.equal(run.out, 'fine\n', run.wrong || String(run.error));
}));

test('in Node: the example follows a terminal, and leads for a moment', settings, scoped(async (scope) => {
    const { server, uuid, say, told } = await host(scope);
    const example = `${web}/test/build/node/follow.mjs`;
    copyFileSync(`${web}/examples/node/tutorial.mjs`, example);
    const process = execFile('node', [example, server, uuid]);
    scope.add(() => process.kill('SIGKILL'));
    let out = '';
    process.stdout.on('data', (data) => (out += data));
    await told('member', ({ name }) => name === 'Node');
    say('next');
    await told('step', ({ index }) => index === 1);
    say('offer');
    await told('step', ({ index }) => index === 5);
    await told('leader', ({ you }) => you);
    say('quit');
    await new Promise((resolve) => process.on('exit', resolve));
    assert.match(out, /6 steps, 2 here\n[^]*step 2\/6 Set up\n[^]*closed/);
}));
