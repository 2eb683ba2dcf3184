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
