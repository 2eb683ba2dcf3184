// The example examples/rust-app: an application in Rust with a framework, over the library itself.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { browser, pages, profile, scoped, signaling, web } from './harness.mjs';

const dist = join(web, 'examples/rust-app/dist');
const settings = {
    timeout: 60_000,
    skip: !existsSync(join(dist, 'index.html')) && 'not built: run `bash web/examples/rust-app/build.sh`',
};

/** Opens the page; what goes wrong in it fails the test at its end. */
async function open(context, url) {
    const page = await context.newPage();
    page.wrong = [];
    page.on('pageerror', (error) => page.wrong.push(error.message));
    await page.goto(url);
    return page;
}

const state = (page, is) => page.locator('.state', { hasText: is }).waitFor({ timeout: 20_000 });
const lines = (page) => page.locator('li').allTextContents();

async function say(page, text) {
    await page.fill('input', text);
    await page.press('input', 'Enter');
}

/** Waits until the page shows as many lines, all of mine stored, and gives them. */
async function shows(page, count) {
    const all = (count) => document.querySelectorAll('li:not(.waits)').length >= count;
    await page.waitForFunction(all, count, { timeout: 20_000 });
    return lines(page);
}

test('two pages in Rust talk; a cut link and reloads change nothing', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const [chrome, origin] = [await browser(scope), await pages(scope, '127.0.0.1', dist)];
    const [there, here] = [await profile(scope, chrome), await profile(scope, chrome)];
    const url = `${origin}/index.html?signaling=${server}`;
    let host = await open(there, url);
    const fragment = await host.locator('#link').getAttribute('href');
    const guest = await open(here, url + fragment);
    await Promise.all([state(host, 'Connected'), state(guest, 'Connected')]);

    const said = [];
    const both = async (from, text) => {
        await say(from, text);
        said.push(text);
        for (const page of [host, guest]) assert.deepEqual(await shows(page, said.length), said);
    };
    await both(guest, 'hello, host');
    await both(host, 'hello, guest: ünïcödé & <b>no markup</b>');

    // The link ends under both.
    assert.ok((await guest.evaluate(() => cut())) > 0);
    await both(guest, 'over the next link');
    await both(host, 'and back');

    // At once, without a wait for anything that may still be under way.
    await guest.reload();
    assert.deepEqual(await shows(guest, said.length), said);
    await state(guest, 'Connected');
    await both(guest, 'after the reload of the guest');
    await both(host, 'still the same conversation');

    // As if it had been left before it could note what was stored: it says all of that again, and nobody sees it twice.
    await guest.evaluate(() => {
        const [key] = Object.keys(localStorage).filter((key) => key.startsWith('chat '));
        const lines = JSON.parse(localStorage.getItem(key));
        for (const line of lines) line.stored &&= !line.mine;
        localStorage.setItem(key, JSON.stringify(lines));
    });
    await guest.reload();
    await both(guest, 'and once more');

    // The host's tab goes. What the guest says meanwhile outlives even its own reload.
    assert.deepEqual(host.wrong, []);
    await host.close();
    await state(guest, 'Reconnecting…');
    for (let number = 0; number < 20; number++) {
        await say(guest, `while you were away ${number}`);
        said.push(`while you were away ${number}`);
    }
    await guest.reload();
    assert.deepEqual(await shows(guest, said.length), said);
    host = await open(there, url);
    for (const page of [host, guest]) assert.deepEqual(await shows(page, said.length), said);
    assert.equal(await host.locator('#link').getAttribute('href'), fragment);
    assert.equal(await host.locator('section').count(), 1, 'one conversation, which was resumed');
    await both(host, 'back again');
    await Promise.all([state(host, 'Connected'), state(guest, 'Connected')]);
    assert.deepEqual([host.wrong, guest.wrong], [[], []]);
}));

test('a second tab of the same conversation, and a wrong link, are told what is wrong', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const [context, origin] = [await profile(scope, await browser(scope)), await pages(scope, '127.0.0.1', dist)];
    const url = `${origin}/index.html?signaling=${server}`;
    const host = await open(context, url);
    await host.locator('#link').waitFor();
    const second = await open(context, url);
    assert.match(await second.locator('[role=alert]').textContent(), /another/);
    const wrong = await open(context, `${url}#nonsense`);
    assert.match(await wrong.locator('[role=alert]').textContent(), /`nonsense` is no service uuid/);
    for (const page of [host, second, wrong]) assert.deepEqual(page.wrong, []);
}));
