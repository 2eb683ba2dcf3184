// Firefox, with a native host and with Chromium. Runs in a network namespace with an address that is not loopback's
// and a default route, which Firefox wants: see run.sh.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import puppeteer from 'puppeteer-core';

import * as tutorial from './tutorial/room.mjs';
import { browser, check, directory, host, instrument, open, pages, profile, ready, scoped, signaling } from './harness.mjs';

const COUNT = Number(process.env.EVERLINK_MESSAGES ?? 10_000);
const settings = { timeout: 180_000 };

async function firefox(scope, origin, { own = true, prefs = {} } = {}) {
    const launched = await puppeteer.launch({
        browser: 'firefox',
        executablePath: '/usr/bin/firefox-esr',
        headless: true,
        userDataDir: directory(scope),
        extraPrefsFirefox: {
            'media.peerconnection.ice.obfuscate_host_addresses': false,
            'network.captive-portal-service.enabled': false,
            'network.connectivity-service.enabled': false,
            'app.update.enabled': false,
            ...prefs,
        },
    });
    scope.add(() => launched.close());
    const page = await launched.newPage();
    await page.evaluateOnNewDocument(instrument);
    await page.goto(own ? `${origin}/` : origin);
    if (own) await ready(page);
    return page;
}

test('Firefox to native host and back, the link cut three times', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const page = await firefox(scope, await pages(scope));
    const result = await page.evaluate(
        async (server, uuid, count) => {
            const { client, connection, channel } = await dial(server, uuid);
            const [received, reconnects] = await Promise.all([
                receiveNumbers(channel, count),
                sendNumbers(connection, channel, count, { cuts: 3 }),
            ]);
            await client.shutdown();
            return { received, reconnects };
        },
        server, uuid, COUNT,
    );
    check('echo at Firefox', COUNT, result.received);
    check('at the native host', COUNT, native.messages());
    if (result.reconnects < 3) throw new Error(`only ${result.reconnects} reconnects`);
}));

test('Firefox and Chromium, both ways, the links cut three times', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const origin = await pages(scope);
    const fox = await firefox(scope, origin);
    const chrome = await open(await profile(scope, await browser(scope)), origin);
    const uuid = await fox.evaluate(async (server) => {
        globalThis.host = await exposeNumbers(server, 'pages/numbers@1.0.0');
        return host.service.uuid;
    }, server);
    const [there, here] = await Promise.all([
        fox.evaluate((server, uuid, count) => exchange(server, uuid, count, 'host'), server, uuid, COUNT),
        chrome.evaluate(([server, uuid, count]) => exchange(server, uuid, count, 'peer'), [server, uuid, COUNT]),
    ]);
    check('at Firefox', COUNT, there.received);
    check('at Chromium', COUNT, here.received);
}));

test('Firefox, and no room for what it shall keep', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    // In KiB; a site may have 10 MiB at least.
    const page = await firefox(scope, await pages(scope), { prefs: { 'dom.quotaManager.temporaryStorage.fixedLimit': 10_240 } });
    await page.evaluate(async (server, uuid) => {
        await resume(server, uuid);
        globalThis.events = [];
        (async () => {
            for await (const event of connection.events()) events.push(event);
        })();
        await (await channel.send('0 ')).stored();
    }, server, uuid);
    assert.equal(await page.evaluate(() => fillStorage()), 'QuotaExceededError');
    const { owed, refused, failed, other } = await page.evaluate(async (server) => {
        const [owed, refused] = [[0], []];
        for (let number = 1; refused.length < 20; number++) {
            await channel.send(`${number} `).then(
                () => owed.push(number),
                ({ name, code, message }) => refused.push(`${name} ${code} ${message}`),
            );
            await sleep(10);
        }
        const make = (store) => everlink.Client.create({ signaling: server, store: { indexedDb: 'other', ...store } });
        const other = await make().then(() => 'made', ({ name, code, message }) => `${name} ${code} ${message}`);
        await make({ otherwise: 'memory' });
        return { owed, refused, other, failed: events.find(({ type }) => type === 'store-failed') };
    }, server);
    console.log(`   ${owed.length - 1} more accepted; ${failed.error.message}`);
    for (const said of [...refused, other]) assert.match(said, /^StoreError full no room in the store: QuotaExceededError.*free some space/);
    assert.deepEqual([failed.error.code, failed.goesOn], ['full', false]);
    const all = await page.evaluate(async (from) => {
        await emptyStorage();
        while (events.at(-1)?.type !== 'store-recovered') await sleep(20);
        const owed = [];
        for (let number = from; number < from + 100; number++) {
            await channel.send(`${number} `);
            owed.push(number);
        }
        await connection.flush();
        return owed;
    }, 1000);
    check('at the native host', [...owed, ...all], native.messages());
    assert.equal(native.messages().length, owed.length + all.length);
}));

test('Firefox follows a tutorial and leads it, over a cut and a reload', settings, scoped(async (scope) => {
    const { url, say, told } = await tutorial.host(scope);
    const page = await firefox(scope, url, { own: false });
    const is = (key, value) => page.waitForFunction((key, value) => document.body.dataset[key] === value, { timeout: 30_000 }, key, value);
    const at = (place) => page.waitForFunction((place) => document.querySelector('#article').dataset.place === place, { timeout: 30_000 }, place);
    await page.waitForSelector('#join:not([hidden])');
    await page.type('#name', 'Fox');
    await page.click('#enter');
    await is('role', 'following');
    await at('0');
    say('next');
    await at('1');
    say('offer');
    await (await page.waitForSelector('.ask .primary')).click();
    await is('role', 'leading');
    await page.evaluate(() => cut());
    await page.keyboard.press('ArrowRight');
    await told('step', ({ index }) => index === 2);
    await page.reload();
    await is('role', 'leading');
    await at('2');
    await page.keyboard.press('s');
    await told('step', ({ index, solution }) => index === 2 && solution);
    if (process.env.EVERLINK_LOOK) await page.screenshot({ path: process.env.EVERLINK_LOOK });
}));
