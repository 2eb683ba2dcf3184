// Workers over the bridge, and what befalls the page whose peer connections they use.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { check, host, pages, plain, scoped, signaling } from './harness.mjs';

const settings = { timeout: 120_000 };

/** Starts a worker of the page that streams to an echo; `ask` of the page calls it. */
const begin = (page, server, uuid) =>
    page.evaluate(async (signaling, uuid) => {
        const { serveWebRtc } = await import('/dist/bridge.js');
        const worker = new Worker('/test/worker.js', { type: 'module' });
        const waiting = new Map();
        let count = 0;
        worker.onmessage = ({ data: { call, value, error } }) => {
            const { resolve, reject } = waiting.get(call);
            if (error) reject(new Error(error));
            else resolve(value);
        };
        globalThis.ask = (method, arg, transfer = []) => {
            const call = ++count;
            worker.postMessage({ call, method, arg }, transfer);
            return new Promise((resolve, reject) => waiting.set(call, { resolve, reject }));
        };
        globalThis.leave = new AbortController();
        const port = serveWebRtc({ signal: leave.signal });
        addEventListener('pageshow', ({ persisted }) => (globalThis.shown = { persisted, at: Date.now() }));
        await ask('begin', { port, signaling, uuid }, [port]);
    }, server, uuid);

/** More than are ever under way, or wait to be received: an echo after so many others is one of the present. */
const MANY = 250;

/** Until the worker has received that many since some time; gives when it had. */
const more = (page, since) =>
    page.evaluate(async (since, many) => {
        for (;;) {
            const { times } = await ask('look');
            const before = times.findLastIndex((time) => time <= since) + 1;
            if (times.length > before + many) return times[before + many];
            await new Promise((resolve) => setTimeout(resolve, 20));
        }
    }, since, MANY);

async function judge(page, native) {
    const { sent, received } = await page.evaluate(() => ask('end'));
    check('echo at the worker', sent, received);
    check('at the native host', sent, native.messages());
}

/** Milliseconds until the host says for the `count`th time that a link is gone, or there again. */
async function heard(native, count, what = '"disconnected"') {
    const began = Date.now();
    let seen = 0;
    await native.line((line) => line.includes(what) && ++seen === count);
    return Date.now() - began;
}

test('a worker of a page that is left in mid-stream and kept goes on when it is shown again', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope);
    const page = await (await plain(scope, origin)).open();
    await begin(page, server, uuid);
    await more(page, 0);
    for (let count = 1; count <= 2; count++) {
        const gone = heard(native, count);
        await page.goto(`${origin}/another`);
        const took = await gone;
        console.log(`   left: its host knew after ${took} ms`);
        assert.ok(took < 1500, `its host knew after ${took} ms only`);
        await page.goBack();
        const { persisted, at } = await page.evaluate(() => globalThis.shown ?? {});
        assert.equal(persisted, true, 'the page was not kept');
        const back = (await more(page, at)) - at;
        console.log(`   shown again: it went on within ${back} ms`);
        assert.ok(back < 5000, `${back} ms`);
    }
    await judge(page, native);
    // With nothing to send it does so all the same: the host may have something.
    const gone = heard(native, 3);
    await page.goto(`${origin}/another`);
    await gone;
    await page.goBack();
    const took = await heard(native, 3, '"resumed":true');
    console.log(`   shown again, with nothing to send: connected after ${took} ms`);
    assert.ok(took < 5000, `${took} ms`);
}));

test('a worker of a page that is closed, reloaded or left is missed at once', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const chrome = await plain(scope, await pages(scope));
    let count = 0;
    for (const [how, go] of [
        ['closed', (page) => page.close()],
        ['reloaded', (page) => page.reload()],
        ['left', (page) => page.goto('about:blank')],
        ['told to leave', (page) => page.evaluate(() => leave.abort())],
    ]) {
        const page = await chrome.open();
        await begin(page, server, uuid);
        // With nothing under way silence says nothing for 20 s.
        await page.evaluate(() => ask('end'));
        const gone = heard(native, ++count);
        await go(page);
        const took = await gone;
        console.log(`   ${how}: the host knew after ${took} ms`);
        assert.ok(took < 1500, `${how}: the host knew after ${took} ms only`);
    }
}));

test('a worker of a page that the browser freezes in mid-stream goes on', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const chrome = await plain(scope, await pages(scope));
    const page = await chrome.open();
    await begin(page, server, uuid);
    await more(page, 0);
    await chrome.hide();
    await page.waitForFunction(() => document.visibilityState === 'hidden', { polling: 20 });
    const devtools = await page.createCDPSession();
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const thawed = Date.now();
    await devtools.send('Page.setWebLifecycleState', { state: 'active' });
    const took = (await more(page, thawed)) - thawed;
    const stood = await page.evaluate(async (thawed) => (await ask('look')).times.findLast((time) => time <= thawed), thawed);
    console.log(`   frozen: nothing for ${thawed - stood} ms, and it went on within ${took} ms`);
    assert.ok(thawed - stood > 2500, 'it was not frozen');
    assert.ok(took < 5000, `${took} ms`);
    await judge(page, native);
}));
