// What a browser's surroundings refuse: no UDP, and nothing kept for good.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { browser, directory, host, launchIn, open, pages, profile, scoped, signaling } from './harness.mjs';

const settings = { timeout: 120_000 };

test('UDP is blocked: no path, said within the time, with what to do', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope);
    // As a policy of a company has it: everything by its proxy, and there is none.
    const page = await open(await profile(scope, await browser(scope, ['--webrtc-ip-handling-policy=disable_non_proxied_udp'])), origin);
    const said = await page.evaluate(async ([server, uuid]) => {
        const client = await everlink.Client.create({ signaling: server });
        const began = performance.now();
        const error = await client.connectByUuid(uuid, { connectTimeout: 3000, backoff: { maxAttempts: 1 } }).catch((error) => error);
        const { name, code, message, reason } = error;
        const took = performance.now() - began;
        await client.shutdown();
        return { name, code, message, cause: reason?.cause?.code, took };
    }, [server, uuid]);
    console.log(`   after ${said.took.toFixed(0)} ms: ${said.message}`);
    assert.deepEqual([said.name, said.code, said.cause], ['ConnectError', 'unreachable', 'no-path']);
    assert.match(said.message, /UDP is blocked.*TURN/);
    assert.ok(said.took < 6000);
    void native;
}));

test('a private window keeps sessions as long as it lives', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope);
    const page = await open(await launchIn(scope, directory(scope), ['--incognito']), origin);
    await page.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
    const id = await page.evaluate(async () => {
        await (await channel.send('before')).acked();
        return connection.id;
    });
    await page.reload();
    await page.evaluate(async () => {
        globalThis.everlink = await import('/dist/index.js');
        Object.assign(globalThis, await import('/test/page.js'));
    });
    await page.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
    assert.equal(await page.evaluate(async () => {
        await (await channel.send('after')).acked();
        return connection.id;
    }), id);
}));
