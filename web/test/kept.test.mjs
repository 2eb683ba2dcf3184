// Pages that the browser itself stops for some time: frozen in the background, or kept while another is shown.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { check, host, pages, plain, ready, scoped, signaling } from './harness.mjs';

const settings = { timeout: 120_000 };

/**
 * Connects to an echo and keeps sending numbers, some at a time, until `globalThis.enough`. `sent`, `received` and
 * `events` are of the page then, and `times` says when what came.
 */
const stream = (page, server, uuid) =>
    page.evaluate(async (server, uuid) => {
        Object.assign(globalThis, await dial(server, uuid, { connection: { backoff: { maxAttempts: null } } }));
        Object.assign(globalThis, { enough: false, sent: 0, received: [], times: [], events: [] });
        globalThis.sending = (async () => {
            let last;
            while (!enough) {
                last = await channel.send(`${sent++} `);
                // Not more than the echo keeps up with.
                while (sent - received.length > 200 && !enough) await channel.receive().then(got);
            }
            while (received.length < sent) await channel.receive().then(got);
            await channel.commit();
            await last.acked();
        })();
        function got(message) {
            received.push(message);
            times.push(performance.now());
        }
        (async () => {
            for await (const event of connection.events()) events.push(event.type);
        })();
        for (const [target, types] of [[globalThis, ['pagehide', 'pageshow']], [document, ['freeze', 'resume', 'visibilitychange']]]) {
            for (const type of types) target.addEventListener(type, ({ persisted }) => events.push(persisted ? `${type} kept` : type));
        }
        // What was there when the page was shown again.
        addEventListener('pageshow', () => (globalThis.shown = [received.length, performance.now()]));
        globalThis.ticks = 0;
        setInterval(() => ticks++, 50);
    }, server, uuid);

/** More than are ever under way, or wait to be received: an echo after so many others is one of the present. */
const MANY = 250;

/** Until that many more echoes are there than at `since`. */
const more = (page, since) => page.waitForFunction((until) => received.length > until, { polling: 20 }, since + MANY);

/** Ends the stream and judges both ends. */
async function judge(page, native) {
    const { sent, received } = await page.evaluate(async () => {
        globalThis.enough = true;
        await sending;
        return { sent, received };
    });
    check('echo at the page', sent, received);
    check('at the native host', sent, native.messages());
}

/** Waits until the page is shown again, and it has to be the very same. */
async function kept(page) {
    const why = await page.evaluate(async () => {
        while (document.readyState !== 'complete') await new Promise((resolve) => setTimeout(resolve, 10));
        if (!globalThis.everlink) return JSON.stringify(performance.getEntriesByType('navigation')[0].notRestoredReasons);
        while (!globalThis.shown) await new Promise((resolve) => setTimeout(resolve, 10));
    });
    assert.equal(why, undefined, 'the browser did not keep the page');
}

const lost = (line) => line.includes('"disconnected"') && JSON.parse(line).cause;

test('pages that the browser freezes in mid-stream go on where they stopped', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const chrome = await plain(scope, await pages(scope));
    const cases = [
        ['for 2 s', () => new Promise((resolve) => setTimeout(resolve, 2000))],
        // Which takes 35 s: the browser itself goes on answering for the page.
        ['until its host gave it up', (native) => native.line(lost, 60_000)],
    ];
    // Each of them streams before it is hidden, as a tab in front of others is never frozen.
    const frozen = [];
    for (const [how, until] of cases) {
        const { native, uuid } = await host(scope, server, '--echo');
        const page = await chrome.open();
        await stream(page, server, uuid);
        await more(page, 0);
        await chrome.hide();
        await page.waitForFunction(() => document.visibilityState === 'hidden', { polling: 20 });
        frozen.push(async () => {
            const devtools = await page.createCDPSession();
            await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
            const looked = () => page.evaluate(() => [globalThis.ticks, received.length]);
            const before = await looked();
            await until(native);
            assert.deepEqual(await looked(), before, 'it was not frozen');
            const stood = before[1];
            const thawed = await page.evaluate(() => ((globalThis.events.length = 0), performance.now()));
            await devtools.send('Page.setWebLifecycleState', { state: 'active' });
            await more(page, stood);
            const [took, events] = await page.evaluate((thawed, at) => [times[at] - thawed, globalThis.events], thawed, stood + MANY);
            console.log(`   frozen ${how}: it went on within ${took.toFixed(0)} ms; ${events}`);
            assert.equal(events[0], 'resume');
            assert.ok(took < 5000, `${took} ms`);
            await judge(page, native);
        });
    }
    await Promise.all(frozen.map((go) => go()));
}));

test('a page that is left in mid-stream, and that the browser has kept, goes on', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope);
    const page = await (await plain(scope, origin)).open();
    await stream(page, server, uuid);
    await more(page, 0);
    for (let count = 1; count <= 2; count++) {
        let gone = 0;
        const heard = native.line((line) => lost(line) && ++gone === count);
        const left = Date.now();
        await page.goto(`${origin}/another`);
        await heard;
        console.log(`   left: its host heard of it after ${Date.now() - left} ms`);
        assert.equal(await page.evaluate(() => typeof everlink), 'undefined');
        await page.goBack();
        await kept(page);
        await more(page, await page.evaluate(() => shown[0]));
        const [took, events] = await page.evaluate((many) => {
            const [there, at] = shown;
            globalThis.shown = undefined;
            return [times[there + many] - at, globalThis.events.splice(0)];
        }, MANY);
        console.log(`   shown again: it went on within ${took.toFixed(0)} ms; ${events}`);
        assert.ok(events.includes('pagehide kept') && events.includes('pageshow kept'), `${events}`);
        assert.ok(took < 5000, `${took} ms`);
    }
    await judge(page, native);
}));

test('a kept page whose sessions another page took over is none that goes on', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope);
    const page = await (await plain(scope, origin)).open();
    const begin = () =>
        page.evaluate(async (server, uuid) => {
            await resume(server, uuid);
            await (await channel.send(location.pathname)).acked();
            return connection.id;
        }, server, uuid);
    const first = await begin();
    // Links of one site, of which each page goes on with what the one before began.
    await page.goto(`${origin}/second`);
    await ready(page);
    assert.equal(await begin(), first);
    await page.goBack();
    // The browser gave the first page up for the store that the second one wanted.
    assert.equal(await page.evaluate(() => typeof everlink), 'undefined');
    await ready(page);
    assert.equal(await begin(), first);
    assert.deepEqual(native.messages(), ['/', '/second', '/']);
    // Left for a page that wants no store, it still has it when it is shown again.
    await page.goto(`${origin}/another`);
    await page.goBack();
    const same = await page.evaluate(() => Boolean(globalThis.everlink));
    console.log(`   its store is nobody else's: ${same ? 'kept' : 'given up all the same'}`);
    if (!same) {
        await ready(page);
        assert.equal(await begin(), first);
    }
    assert.equal(await page.evaluate(async () => {
        await (await channel.send('last')).acked();
        await client.shutdown();
        return connection.id;
    }), first);
    assert.deepEqual(native.messages(), ['/', '/second', '/', ...(same ? [] : ['/']), 'last']);
}));
