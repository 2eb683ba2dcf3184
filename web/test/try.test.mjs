// The page /try of `everlink serve`, as people use it.
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { Native, browser, profile, scoped, web } from './harness.mjs';

const settings = { timeout: 60_000 };
const COUNT = 200;

/** A server with the page; gives its address. */
async function serve(scope) {
    const server = new Native(scope, 'serve', '--listen', '127.0.0.1:0', '--web', join(web, 'dist'));
    return `${await server.line((line) => /listening on (http\S+)/.exec(line)?.[1])}/try`;
}

/** Opens the page, which asks nobody but its server, and keeps to its policy. */
async function open(context, url) {
    const page = await context.newPage();
    page.wrong = [];
    page.on('pageerror', (error) => page.wrong.push(error.message));
    page.on('console', (message) => {
        // The directory's refusals are answers, though the browser reports them.
        if (message.type() === 'error' && !message.location().url.includes('/v1/')) page.wrong.push(message.text());
    });
    page.on('request', (request) => {
        if (new URL(request.url()).origin !== new URL(url).origin) page.wrong.push(`asked ${request.url()}`);
    });
    await page.goto(url);
    await state(page, 'live');
    return page;
}

const state = (page, is) => page.waitForFunction((is) => document.body.dataset.link === is, is, { timeout: 20_000 });
const shows = (page, field, text) =>
    page.waitForFunction(([field, text]) => document.querySelector(field)?.value === text, [field, text], { timeout: 20_000 });
const figure = async (page, id) => (await page.textContent(`#${id}`)).trim();

test('two sides of one page: cut while both write, nothing is lost', settings, scoped(async (scope) => {
    const page = await open(await profile(scope, await browser(scope)), await serve(scope));
    const type = async (side, text) => {
        await page.locator(`#${side} .mine`).focus();
        for (const letter of text) await page.keyboard.insertText(letter);
    };
    const [a, b] = ['0123456789'.repeat(COUNT / 10), 'abcdefghij'.repeat(COUNT / 10)];
    for (const at of [0, 1, 2, 3]) {
        const part = (text) => text.slice((at * COUNT) / 4, ((at + 1) * COUNT) / 4);
        if (at > 0) {
            await page.click('#cut');
            assert.equal(await page.evaluate(() => document.body.dataset.link), 'cut');
        }
        await type('a', part(a));
        await type('b', part(b));
        await page.waitForFunction((links) => Number(document.querySelector('#links').textContent) > links, at, { timeout: 20_000 });
        await state(page, 'live');
        await shows(page, '#b .theirs', a.slice(0, ((at + 1) * COUNT) / 4));
        await shows(page, '#a .theirs', b.slice(0, ((at + 1) * COUNT) / 4));
    }
    assert.match(await figure(page, 'recovery'), /^(\d+ ms|\d\.\d\d s)$/);
    assert.equal(await figure(page, 'recovery-note'), 'from the cut');
    assert.ok(Number(await figure(page, 'replayed')) > 0, 'nothing was replayed');
    assert.equal(await figure(page, 'wrong'), '0');
    console.log(`   back after ${await figure(page, 'recovery')}, ${await figure(page, 'replayed')} replayed`);
    assert.deepEqual(page.wrong, []);
}));

test('kept cut, what is written waits; let go, it arrives', settings, scoped(async (scope) => {
    const page = await open(await profile(scope, await browser(scope)), await serve(scope));
    await page.fill('#a .mine', 'before');
    await shows(page, '#b .theirs', 'before');
    // As with a keyboard.
    await page.focus('#hold');
    await page.keyboard.press('Space');
    await page.locator('#a .mine').pressSequentially(' and during');
    await page.waitForFunction(() => document.querySelector('#a .queue.some .left')?.textContent === '11');
    await page.waitForTimeout(1500);
    assert.equal(await page.inputValue('#b .theirs'), 'before');
    assert.equal(await page.evaluate(() => document.querySelector('#a .state').textContent), 'Cut');
    await page.click('#cut');
    await shows(page, '#b .theirs', 'before and during');
    await state(page, 'live');
    assert.equal(await figure(page, 'wrong'), '0');
    await page.waitForFunction(() => /is back after/.test(document.querySelector('#news').textContent));
    assert.deepEqual(page.wrong, []);
}));

test('another device comes by the link, is cut off, reloads, and so does the host', settings, scoped(async (scope) => {
    const [chrome, url] = [await browser(scope), await serve(scope)];
    const at = await profile(scope, chrome);
    const host = await open(at, url);
    // A second tab of the same browser is a host of its own.
    const tab = await open(at, url);
    await host.check('[value=host]', { force: true });
    await host.waitForFunction(() => document.querySelector('#code svg path'));
    const link = await host.inputValue('#url');
    assert.match(link, /\/try#[0-9a-f-]{36}$/);
    assert.notEqual(link, await tab.inputValue('#url').catch(() => ''));
    await host.fill('#a .mine', 'from the host');

    const guest = await open(await profile(scope, chrome), link);
    await guest.locator('#a .mine').pressSequentially('from the guest');
    await shows(host, '#a .theirs', 'from the guest');
    await shows(guest, '#a .theirs', 'from the host');
    for (const one of [guest, host]) {
        await one.click('#cut');
        await host.locator('#a .mine').press('End');
        await host.locator('#a .mine').pressSequentially('!');
        const said = await host.inputValue('#a .mine');
        await shows(guest, '#a .theirs', said);
    }
    await guest.reload();
    await shows(guest, '#a .theirs', 'from the host!!');
    await shows(host, '#a .theirs', 'from the guest');
    await host.reload();
    await shows(host, '#a .theirs', 'from the guest');
    await guest.locator('#a .mine').pressSequentially('?');
    await shows(host, '#a .theirs', 'from the guest?');
    assert.equal(await figure(guest, 'wrong'), '0');
    assert.equal(await figure(host, 'wrong'), '0');
    for (const page of [host, tab, guest]) assert.deepEqual(page.wrong, []);
}));

test('a link that leads nowhere, and a browser without WebRTC, are told', settings, scoped(async (scope) => {
    const context = await profile(scope, await browser(scope));
    const url = await serve(scope);
    const told = async (prepare, address) => {
        const page = await context.newPage();
        if (prepare) await page.addInitScript(prepare);
        await page.goto(address);
        await page.waitForSelector('#trouble:not([hidden])');
        return page.textContent('#trouble');
    };
    assert.match(await told(undefined, `${url}#half-a-link`), /not complete/);
    assert.match(await told(() => delete globalThis.RTCPeerConnection, url), /no WebRTC/);
}));

test('the package is given compressed to who takes it so', settings, scoped(async (scope) => {
    const url = await serve(scope);
    const asked = (path, coding) =>
        new Promise((resolve, reject) => {
            get(`${url}/lib/${path}`, { headers: { 'accept-encoding': coding } }, (answer) => {
                const parts = [];
                answer.on('data', (part) => parts.push(part));
                answer.on('end', () => resolve({ coding: answer.headers['content-encoding'], body: Buffer.concat(parts) }));
            }).on('error', reject);
        });
    for (const path of ['everlink_bg.wasm', 'index.js']) {
        const [plain, small] = [await asked(path, 'identity'), await asked(path, 'br, gzip')];
        assert.equal(plain.coding, undefined);
        assert.equal(small.coding, 'gzip');
        assert.ok(gunzipSync(small.body).equals(plain.body), `${path} is another one`);
    }
}));
