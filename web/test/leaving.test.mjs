// Pages that are left, kept and shown again, or frozen: their peers hear of it at once, and nothing is lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { browser, check, host, open, pages, profile, scoped, signaling } from './harness.mjs';

const settings = { timeout: 120_000 };

/** Milliseconds from now until the host says that the link is gone, for the `count`th time. */
async function heard(native, count) {
    const began = Date.now();
    let seen = 0;
    await native.line((line) => {
        if (line.includes('"disconnected"')) seen++;
        return seen >= count;
    });
    return Date.now() - began;
}

const talk = ([server, uuid]) => dial(server, uuid).then(async (made) => {
    Object.assign(globalThis, made);
    await channel.send('hello');
    await channel.receive();
});

test('a page that is closed, reloaded or left is missed at once', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const [context, origin] = [await profile(scope, await browser(scope)), await pages(scope)];
    let count = 0;
    for (const [how, go] of [
        ['closed', (page) => page.close()],
        ['reloaded', (page) => page.reload()],
        ['left', (page) => page.goto('about:blank')],
    ]) {
        const page = await open(context, origin);
        await page.evaluate(talk, [server, uuid]);
        const gone = heard(native, ++count);
        await go(page);
        const took = await gone;
        console.log(`   ${how}: the host knew after ${took} ms`);
        assert.ok(took < 1500, `${how}: the host knew after ${took} ms only`);
    }
}));

test('a page that is kept while another is shown goes on when it is shown again', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    await page.evaluate(talk, [server, uuid]);
    const gone = heard(native, 1);
    const asked = await page.evaluate(async () => {
        const { fetch } = globalThis;
        let asked = 0;
        globalThis.fetch = (...args) => (asked++, fetch(...args));
        dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
        for (let number = 0; number < 100; number++) await channel.send(`${number} `);
        // Long enough for who was told to dial, and too short for who misses the peer.
        await sleep(200);
        return asked;
    });
    // A page that goes has no business dialing.
    assert.equal(asked, 0);
    assert.ok((await gone) < 1500);
    assert.equal(native.messages().length, 1);
    const { took, received } = await page.evaluate(async () => {
        const began = performance.now();
        dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
        const received = await receiveNumbers(channel, 100);
        return { took: performance.now() - began, received };
    });
    console.log(`   back after ${took.toFixed(0)} ms`);
    check('echo at the page', 100, received);
    check('at the native host', 100, native.messages().slice(1));
    assert.ok(took < 5000, `${took} ms`);
}));

test('a page that was frozen goes on', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const context = await profile(scope, await browser(scope));
    const page = await open(context, await pages(scope));
    await page.evaluate(talk, [server, uuid]);
    await page.evaluate(() => {
        globalThis.received = receiveNumbers(channel, 200);
        return sendNumbers(connection, channel, 100);
    });
    // Headless pages are always seen, and such cannot be frozen: so the debugger stops it.
    const devtools = await context.newCDPSession(page);
    await devtools.send('Debugger.enable');
    await page.evaluate(async () => {
        for (let number = 100; number < 150; number++) await channel.send(`${number} `);
        document.dispatchEvent(new Event('freeze'));
    });
    const paused = new Promise((resolve) => devtools.once('Debugger.paused', resolve));
    await devtools.send('Debugger.pause');
    await paused;
    await new Promise((resolve) => setTimeout(resolve, 10_000));
    const began = Date.now();
    await devtools.send('Debugger.resume');
    await devtools.send('Debugger.disable');
    await page.evaluate(async () => {
        document.dispatchEvent(new Event('resume'));
        for (let number = 150; number < 200; number++) await channel.send(`${number} `);
    });
    const received = await page.evaluate(() => received);
    const took = Date.now() - began;
    console.log(`   back after ${took} ms`);
    assert.ok(took < 5000, `${took} ms`);
    check('echo at the page', 200, received);
    check('at the native host', 200, native.messages().slice(1));
}));
