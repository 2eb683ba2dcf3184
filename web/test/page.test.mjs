// Pages among themselves, a native peer and a page host, and what befalls tabs.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Native, RESTART, browser, check, host, open, pages, profile, ready, scoped, signaling } from './harness.mjs';

const COUNT = Number(process.env.EVERLINK_MESSAGES ?? 10_000);
const settings = { timeout: 120_000 };

test('page to page, both ways, the links cut three times', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const [chrome, origin] = [await browser(scope), await pages(scope)];
    const one = await open(await profile(scope, chrome), origin);
    const two = await open(await profile(scope, chrome), origin);
    const uuid = await one.evaluate(async (server) => {
        globalThis.host = await exposeNumbers(server, 'pages/numbers@1.0.0');
        return host.service.uuid;
    }, server);
    const both = ([server, uuid, count, role]) => exchange(server, uuid, count, role);
    const [there, here] = await Promise.all([
        one.evaluate(both, [server, uuid, COUNT, 'host']),
        two.evaluate(both, [server, uuid, COUNT, 'peer']),
    ]);
    check('at the host', COUNT, there.received);
    check('at the peer', COUNT, here.received);
    assert.equal(here.reconnects >= 3, true, `${here.reconnects} reconnects`);
}));

test('a native peer and a page that hosts, the link cut three times', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const uuid = await page.evaluate(async (server) => {
        globalThis.echo = await exposeEcho(server, 'page/echo@1.0.0');
        return echo.service.uuid;
    }, server);
    const native = new Native(scope, 'connect', uuid, '--server', server, '--json', '--stay');
    let number = 0;
    for (let cut = 1; cut <= 4; cut++) {
        const upTo = Math.floor((COUNT / 4) * cut);
        let block = '';
        while (number < upTo) block += `${number++} \n`;
        native.process.stdin.write(block);
        if (cut < 4) {
            // In mid-stream, and on a link that is new each time.
            const some = number - Math.floor(COUNT / 8);
            await page.waitForFunction((some) => echo.received.length > some && cut() > 0, some, { polling: 5 });
        }
    }
    native.process.stdin.end();
    await native.line((line) => line.includes(`"${COUNT - 1} "`), 60_000);
    check('at the page', COUNT, await page.evaluate(() => echo.received));
    check('echo at the native peer', COUNT, native.messages());
}));

test('a tab reloaded in mid-stream goes on, and one that was killed goes on in a new one', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const [context, origin] = [await profile(scope, await browser(scope)), await pages(scope)];
    const received = [];
    const count = COUNT / 2;
    const owed = [];
    await context.exposeFunction('tell', (text) => void received.push(text));
    await context.exposeFunction('note', (block) => void owed.push(...block));
    let page = await open(context, origin);
    let next = 0;
    for (const part of ['reload', 'reload', 'kill', 'last']) {
        await page.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
        const [from, until] = [next, owed.length + count / 4];
        const sending = page.evaluate(([from, to]) => sendStored(from, to), [from, from + (part === 'last' ? count / 4 : count)]);
        if (part === 'last') {
            await sending;
            break;
        }
        sending.catch(() => {});
        await holds(() => owed.length >= until);
        if (part === 'reload') {
            await page.reload();
            await ready(page);
        } else {
            // As hard as a tab can go: its renderer is gone from one moment to the next.
            const crashed = new Promise((resolve) => page.on('crash', resolve));
            page.goto('chrome://crash').catch(() => {});
            await crashed;
            page = await open(context, origin);
        }
        received.push(RESTART);
        // What a page had under way when it went may have been stored or not.
        next = owed.at(-1) + 51;
    }
    await page.evaluate(() => connection.flush());
    check('at the native host', owed, native.messages());
    const all = native.messages().map((text) => Number.parseInt(text, 10));
    await holds(() => new Set(received).size > all.length, () => received.length);
    check('echo at the page', all, received);
}));

test('offline and online again', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const context = await profile(scope, await browser(scope));
    const page = await open(context, await pages(scope));
    await page.evaluate(async ([server, uuid]) => {
        Object.assign(globalThis, await dial(server, uuid));
        globalThis.received = receiveNumbers(channel, 300);
        await sendNumbers(connection, channel, 100);
    }, [server, uuid]);
    await context.setOffline(true);
    await page.evaluate(async () => {
        cut();
        for (let number = 100; number < 200; number++) await channel.send(`${number} `);
        for await (const state of connection.states()) if (state.type === 'reconnecting') break;
    });
    await page.waitForTimeout(3000);
    await context.setOffline(false);
    const back = Date.now();
    const received = await page.evaluate(async () => {
        for await (const state of connection.states()) if (state.type === 'connected') break;
        for (let number = 200; number < 300; number++) await channel.send(`${number} `);
        return received;
    });
    console.log(`   back ${Date.now() - back} ms after the network was`);
    check('at the native host', 300, native.messages());
    check('echo at the page', 300, received);
}));

test('two tabs with one identity', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const [context, origin] = [await profile(scope, await browser(scope)), await pages(scope)];
    const [one, two] = [await open(context, origin), await open(context, origin)];
    // A store belongs to one of them, and the other is told so.
    await one.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
    const code = await two.evaluate(([server, uuid]) => resume(server, uuid).catch((error) => `${error.name} ${error.code}`), [server, uuid]);
    assert.equal(code, 'StoreError locked');
    // Without a store each has a session of its own under the same key.
    const talk = async ([server, uuid, count]) => {
        const identity = await everlink.Identity.load('both');
        const { client, connection, channel } = await dial(server, uuid, { client: { identity } });
        const [received] = await Promise.all([
            receiveNumbers(channel, count), sendNumbers(connection, channel, count, { cuts: 1 }),
        ]);
        await client.shutdown();
        return { received, key: client.publicKey, id: connection.id };
    };
    const [first, second] = await Promise.all([one, two].map((page) => page.evaluate(talk, [server, uuid, 1000])));
    assert.equal(first.key, second.key);
    assert.notEqual(first.id, second.id);
    check('echo at the first', 1000, first.received);
    check('echo at the second', 1000, second.received);
    void native;
}));

test('a client that was shut down has let go of its store', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const ids = await page.evaluate(async ([server, uuid]) => {
        const ids = new Set();
        // Nothing is done for the collector of garbage here: all of it is still referred to.
        const about = [];
        for (let life = 0; life < 3; life++) {
            await resume(server, uuid);
            await (await channel.send('again')).acked();
            ids.add(connection.id);
            about.push(client, connection, channel);
            await client.shutdown();
        }
        // So has one that did not come about.
        const { load } = everlink.Identity;
        everlink.Identity.load = () => Promise.reject(new Error('no'));
        await resume(server, uuid).catch(({ message }) => ids.add(message));
        everlink.Identity.load = load;
        await resume(server, uuid);
        ids.add(connection.id);
        return [...ids];
    }, [server, uuid]);
    assert.deepEqual([ids.length, ids[1]], [2, 'no']);
}));

test('text and bytes, small and 5 MiB, and a lossy channel', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const result = await page.evaluate(async ([server, uuid]) => {
        const { client, connection, channel } = await dial(server, uuid);
        const big = new Uint8Array(5 << 20).map((_, at) => at * 7);
        const sent = ['', 'text', 'žluťoučký 🐎', new Uint8Array(), new Uint8Array([0, 255, 10]), big, 'x'.repeat(1 << 20)];
        const views = [big.buffer.slice(0, 3), new DataView(big.buffer, 1, 2), new Uint16Array([1, 2])];
        for (const message of [...sent, ...views]) await channel.send(message);
        const same = [];
        for (const message of sent) {
            const back = await channel.receive();
            same.push(typeof back === typeof message && back.length === message.length && (typeof back === 'string' ? back === message : back.every((byte, at) => byte === message[at])));
        }
        const viewed = [];
        for (const _ of views) viewed.push([...(await channel.receive())].join());
        const lossy = connection.openChannel('cursors', { lossy: { ordered: false, maxRetransmits: 0 } });
        let echoed = 0;
        const listening = (async () => {
            for await (const message of lossy) if (message.startsWith('cursor ')) echoed++;
        })();
        for (let number = 0; number < 200 && echoed < 20; number++) {
            await lossy.send(`cursor ${number}`);
            await sleep(20);
        }
        const kind = lossy.lossy;
        lossy.close();
        await listening;
        await client.shutdown();
        return { same, viewed, echoed, kind };
    }, [server, uuid]);
    assert.deepEqual(result.same, result.same.map(() => true));
    assert.deepEqual(result.viewed, ['0,7,14', '7,14', '1,0,2,0']);
    assert.equal(result.kind, true);
    assert.ok(result.echoed >= 20, `${result.echoed} lossy messages came back`);
}));

test('habits: events, states, receipts, abort, dispose', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const result = await page.evaluate(async ([server, uuid]) => {
        const said = {};
        const { client, connection, channel } = await dial(server, uuid);
        const events = [];
        const watching = (async () => {
            for await (const event of connection.events()) events.push(event.type);
        })();
        const receipt = await channel.send('one');
        await receipt.stored();
        const gone = channel.receive({ signal: AbortSignal.abort(new Error('mine')) });
        said.aborted = await gone.catch((error) => error.message);
        said.first = await channel.receive({ signal: AbortSignal.timeout(10_000) });
        await receipt.acked();
        const late = new AbortController();
        const waiting = channel.receive({ signal: late.signal }).catch((error) => error.name);
        await sleep(50);
        late.abort();
        said.late = await waiting;
        // What came meanwhile is not lost to the aborted call.
        await channel.send('two');
        said.second = await channel.receive();
        said.seq = [receipt.seq, (await channel.send('three')).seq];
        said.twice = (() => {
            try {
                connection.openChannel('numbers');
            } catch (error) {
                return `${error.name} ${error.code} ${error instanceof everlink.EverlinkError}`;
            }
        })();
        const states = [];
        const follow = (async () => {
            for await (const state of connection.states()) states.push(state.type);
        })();
        cut();
        await channel.send('four');
        said.rest = [await channel.receive(), await channel.receive()];
        const reason = await connection.close();
        said.closed = reason.code;
        await Promise.all([watching, follow]);
        said.events = events;
        said.states = states;
        said.sendAfter = await channel.send('five').catch((error) => `${error.name} ${error.code} ${error.reason?.code}`);
        said.receiveAfter = await channel.receive().catch((error) => `${error.name} ${error.code} ${error.reason?.code}`);
        await client[Symbol.asyncDispose]();
        said.connectAfter = await client.connectByUuid(uuid).catch((error) => `${error.name} ${error.code}`);
        return said;
    }, [server, uuid]);
    const { events, states, ...rest } = result;
    assert.deepEqual(rest, {
        aborted: 'mine', first: 'one', late: 'AbortError', second: 'two', seq: [1, 3],
        twice: 'ChannelError already-open true', rest: ['three', 'four'], closed: 'local',
        sendAfter: 'SendError closed local', receiveAfter: 'ReceiveError closed local', connectAfter: 'ConnectError shutdown',
    });
    assert.deepEqual(events.slice(0, 1), ['connected']);
    for (const wanted of ['disconnected', 'recovered', 'closed']) assert.ok(events.includes(wanted), `${events}`);
    assert.equal(states[0], 'connected');
    assert.ok(states.includes('reconnecting') && states.at(-1) === 'closed', `${states}`);
}));

test('what a page publishes is listed with its metadata, and found by name and version', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    const metadata = '{"__proto__":{"a":1},"at":9007199254740991,"list":[1.5,null,true,{"deep":[]}],"title":"Ch\\"ät [{"}';
    const result = await page.evaluate(async ([server, json]) => {
        const metadata = JSON.parse(json);
        const host = await exposeEcho(server, 'lister/com.example.echo@1.2.0-rc.1', { public: true, metadata });
        const { client } = host;
        const claim = await client.claimUsername('lister');
        const listed = await client.services('lister');
        const none = await client.services('nobody-there');
        const other = await everlink.Client.create({ signaling: server });
        const taken = await other.claimUsername('lister').catch(({ name, code }) => `${name} ${code}`);
        const connection = await other.connect('lister', 'com.example.echo@^1.2.0-rc.0');
        // A pre-release is for those who ask for one.
        const released = await other.connect('lister', 'com.example.echo@~1.2', { signal: AbortSignal.timeout(3000) })
            .catch((error) => error.code ?? error.name);
        await connection.close();
        await Promise.all([host.service.stop(), other.shutdown()]);
        const after = await client.services('lister');
        await client.shutdown();
        const [{ uuid, user, service, metadata: read }, ...more] = listed;
        const isSame = uuid === host.service.info.uuid;
        return { claimed: claim.username, isSame, user, service, read: JSON.stringify(read), more, none, taken, released, after };
    }, [server, metadata]);
    assert.deepEqual(result, {
        claimed: 'lister', isSame: true, user: 'lister', service: 'com.example.echo@1.2.0-rc.1', read: metadata, more: [],
        none: [], taken: 'SignalingError username-taken', released: 'service-not-found', after: [],
    });
}));

/** Waits until `what` is so, for a minute from when `progress` was last made. */
async function holds(what, progress = () => 0) {
    let [made, late] = [progress(), Date.now() + 60_000];
    while (!what()) {
        if (progress() !== made) [made, late] = [progress(), Date.now() + 60_000];
        if (Date.now() > late) throw new Error('not in time');
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}
