// A page and a native host, both directions.
import { test } from 'node:test';

import { scoped, browser, check, host, open, pages, profile, signaling } from './harness.mjs';

const COUNT = Number(process.env.EVERLINK_MESSAGES ?? 10_000);

test('page to native host and back, the link cut three times', { timeout: 120_000 }, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const result = await page.evaluate(
        async ([server, uuid, count]) => {
            const { client, connection, channel } = await dial(server, uuid);
            const [received, reconnects] = await Promise.all([
                receiveNumbers(channel, count),
                sendNumbers(connection, channel, count, { cuts: 3 }),
            ]);
            await connection.close();
            await client.shutdown();
            return { received, reconnects };
        },
        [server, uuid, COUNT],
    );
    check('echo at the page', COUNT, result.received);
    check('at the native host', COUNT, native.messages());
    if (result.reconnects < 3) throw new Error(`only ${result.reconnects} reconnects`);
}));

test('a page that stays for long grows no larger', { timeout: 120_000 }, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const context = await profile(scope, await browser(scope));
    await context.addInitScript(() => {
        const instantiate = WebAssembly.instantiate;
        WebAssembly.instantiate = async (...args) => {
            const made = await instantiate.apply(WebAssembly, args);
            const exported = Object.values((made.instance ?? made).exports);
            globalThis.memory ??= exported.find((one) => one instanceof WebAssembly.Memory);
            return made;
        };
    });
    const page = await open(context, await pages(scope));
    const [before, after] = await page.evaluate(
        async ([server, uuid]) => {
            const { client, connection, channel } = await dial(server, uuid);
            const echo = async (times) => {
                for (let at = 0; at < times; at++) {
                    await channel.send(String(at));
                    await channel.receive();
                }
            };
            const live = async (cuts, times) => {
                for (let at = 0; at < cuts; at++) {
                    cut();
                    await echo(times / cuts);
                }
                return memory.buffer.byteLength / 65_536;
            };
            const sizes = [await live(10, 2000), await live(20, 10_000)];
            await connection.close();
            await client.shutdown();
            return sizes;
        },
        [server, uuid],
    );
    console.log(`# the module's memory: ${before} pages of 64 KiB, then ${after}`);
    if (after - before > 2) throw new Error(`it grew by ${after - before} pages`);
}));
