// A page and a native side of a release to come: both are told which versions they speak, and what to do.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { Native, browser, directory, host, open, pages, profile, scoped, signaling } from './harness.mjs';

const settings = { timeout: 60_000 };
/** What the native side speaks; what a page of this package does. */
const [NEWER, OURS] = [7, 2];
const words = (theirs, ours) => `the peer speaks protocol versions ${theirs}, this side ${ours}: update the older side`;

test('a page, and a native host that is newer', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo', '--speak', NEWER);
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const told = await page.evaluate(async ([server, uuid]) => {
        const plain = ({ name, code, message, reason }) => ({ name, code, message, reason });
        const client = await everlink.Client.create({ signaling: server });
        const connect = await client.connectByUuid(uuid).catch(plain);
        // One that would try for ever, with a message that waits.
        const connection = client.connectLazy({ uuid }, { backoff: { maxAttempts: null } });
        const events = [];
        const watching = (async () => {
            for await (const event of connection.events()) events.push(event);
        })();
        const channel = connection.openChannel('x');
        const receipt = await channel.send('kept?');
        const acked = await receipt.acked().catch(plain);
        const later = await channel.send('more').catch(plain);
        await watching;
        const { state } = connection;
        const undelivered = connection.takeUndelivered().map(({ data, mayHaveArrived }) => [data, mayHaveArrived]);
        await client.shutdown();
        return { key: client.publicKey, connect, acked, later, state, events, undelivered };
    }, [server, uuid]);

    const message = words(NEWER, OURS);
    const cause = { kind: 'connect', code: 'version', message };
    assert.deepEqual([told.connect.name, told.connect.code, told.connect.message], ['ConnectError', 'version', message]);
    for (const reason of [told.acked.reason, told.later.reason, told.state.reason, told.events.at(-1).reason]) {
        assert.deepEqual([reason.code, reason.cause], ['refused', cause]);
    }
    assert.deepEqual([told.acked.code, told.later.code, told.state.type, told.events.at(-1).type], ['closed', 'closed', 'closed', 'closed']);
    assert.ok(told.acked.reason.message.includes(message), told.acked.reason.message);

    // What was taken meanwhile is handed back, and cannot have arrived.
    assert.deepEqual(told.undelivered, [['kept?', false]]);

    // The host, which serves its own kind, is told the same the other way round: once for each attempt, and there was one
    // of each connection.
    const refused = await native.line(() => native.lines.filter((line) => line.includes('"refused"')).length === 2 && native.lines);
    const expected = { event: 'refused', peer: told.key, error: words(OURS, NEWER) };
    assert.deepEqual(refused.slice(1).map((line) => JSON.parse(line)), [expected, expected]);
    assert.match(native.errors, new RegExp(`WARN.*${words(OURS, NEWER)}`));
}));

test('a native peer that is newer, and a page that hosts', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const uuid = await page.evaluate(async (server) => {
        globalThis.echo = await exposeEcho(server, 'page/echo@1.0.0');
        globalThis.events = [];
        (async () => {
            for await (const event of echo.service.events()) events.push(event);
        })();
        return echo.service.uuid;
    }, server);
    const identity = join(directory(scope), 'identity');
    const { key } = await new Native(scope, 'whoami', '--json', '--identity', identity).line((line) => JSON.parse(line));
    const newer = new Native(scope, 'connect', uuid, '--server', server, '--identity', identity, '--speak', NEWER);
    newer.process.stdin.end('hello\n');
    assert.equal(await newer.ended, 1);
    assert.ok(newer.errors.includes(words(OURS, NEWER)), newer.errors);
    assert.deepEqual(newer.lines, []);

    await page.waitForFunction(() => events.some(({ type }) => type === 'refused'));
    // Whoever speaks what the page does is served as before.
    const peer = new Native(scope, 'connect', uuid, '--server', server);
    peer.process.stdin.end('hello\n');
    assert.equal(await peer.ended, 0);
    assert.deepEqual(peer.lines, ['hello']);
    const { refused, received } = await page.evaluate(() => {
        const refused = events.filter(({ type }) => type === 'refused');
        return { refused, received: echo.received };
    });
    assert.deepEqual(refused, [{ type: 'refused', peer: key, error: { kind: 'connect', code: 'version', message: words(NEWER, OURS) } }]);
    assert.deepEqual(received, ['hello']);
}));
