// A disk that is too small, for real: the browser's profile is on a file system of some megabytes, which gets full. Runs as
// root, in a mount namespace of its own: see run.sh.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { check, directory, host, launchIn, open, pages, ready, scoped, signaling } from './harness.mjs';

const settings = { timeout: 120_000 };

/** Chromium on a disk of its own, of which a site may have about half. */
async function small(scope) {
    const disk = directory(scope);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'everlink-test', disk]);
    // Lazily: the browser that ends before it may still hold a file.
    scope.add(() => execFileSync('umount', ['--lazy', disk]));
    return { disk, context: await launchIn(scope, disk) };
}

/** Two ways in which there is no room: `fill` takes all of it, `empty` gives it back. */
const ways = {
    // What the browser allows the site, which another database of the site takes, to the last byte.
    quota: (disk, page) => ({
        fill: () => page.evaluate(() => fillStorage()),
        empty: () => page.evaluate(() => emptyStorage()),
    }),
    // The disk itself.
    disk: (disk) => ({
        fill: () => assert.throws(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(70 << 20)), { code: 'ENOSPC' }),
        empty: () => rmSync(join(disk, 'filler')),
    }),
};

for (const [way, make] of Object.entries(ways)) {
    test(`no room (${way}): nothing that was accepted is lost, and the rest is refused with the reason`, settings, scoped(async (scope) => {
        const server = await signaling(scope);
        const { native, uuid } = await host(scope, server, '--echo');
        const [{ disk, context }, origin] = [await small(scope), await pages(scope)];
        const page = await open(context, origin);
        const { fill, empty } = make(disk, page);
        await page.evaluate(async ([server, uuid]) => {
            await resume(server, uuid);
            Object.assign(globalThis, { number: 0, owed: [], refused: [], events: [] });
            (async () => {
                for await (const event of connection.events()) events.push(event);
            })();
            /** Sends numbers until so many more were accepted, or refused. */
            globalThis.send = async ({ accepted = Infinity, refusals = Infinity }) => {
                const [most, mostRefused] = [owed.length + accepted, refused.length + refusals];
                let last;
                while (owed.length < most && refused.length < mostRefused) {
                    const next = number++;
                    try {
                        last = await channel.send(`${next} `);
                        owed.push(next);
                        // So that it is written, too, and not only taken.
                        if (number % 50 === 0) await sleep(1);
                    } catch ({ name, code, message }) {
                        refused.push({ next, name, code, message });
                        await sleep(20);
                    }
                }
                return last;
            };
            await (await send({ accepted: 100 })).stored();
        }, [server, uuid]);

        const said = await fill();
        if (said) assert.equal(said, 'QuotaExceededError');
        await page.evaluate(() => send({ refusals: 20 }));
        const { owed, refused, events, state } = await page.evaluate(() => ({ owed, refused, events, state: connection.state }));
        const failed = events.find(({ type }) => type === 'store-failed');
        console.log(`   ${owed.length - 100} more accepted; ${failed.error.message}`);
        // Chromium does not say of a full disk that it is full when it opens a database there again.
        const [codes, words] = way === 'quota' ? [/^full$/, /no room in the store: QuotaExceededError.*free some space/] : [/^(full|failed)$/, /no room in the store|the disk may be full/];
        for (const error of [failed.error, ...refused]) {
            assert.match(error.code, codes);
            assert.match(error.message, words);
        }
        assert.equal(refused[0].name, 'StoreError');
        assert.deepEqual([failed.goesOn, state.type], [false, 'connected']);

        // Others are told the same, or have it in memory if they allow that.
        const others = await page.evaluate(async ([server, uuid]) => {
            const store = { indexedDb: 'other' };
            const refused = await everlink.Client.create({ signaling: server, store }).catch(({ name, code, message }) => ({ name, code, message }));
            const { client, channel } = await dial(server, uuid, { client: { store: { ...store, otherwise: 'memory' } } });
            await channel.send('1000000 by way of memory');
            const back = await channel.receive();
            await client.shutdown();
            return { refused, back };
        }, [server, uuid]);
        console.log(`   another store: ${others.refused.message}`);
        assert.equal(others.refused.name, 'StoreError');
        assert.match(others.refused.code, codes);
        assert.match(others.refused.message, words);
        assert.equal(others.back, '1000000 by way of memory');

        // Room again, after which it goes on by itself.
        await empty();
        const began = Date.now();
        await page.waitForFunction(() => events.at(-1).type === 'store-recovered');
        console.log(`   room again: back after ${Date.now() - began} ms`);
        const all = await page.evaluate(async () => {
            await send({ accepted: 100 });
            await connection.flush();
            return owed;
        });
        // What was refused is not there, either: a caller who sends it again would have it twice.
        const mine = native.messages().filter((text) => !text.startsWith('1000000'));
        check('at the native host', all, mine);
        assert.equal(mine.length, all.length);
        // And it is all as if nothing had been, for the next page. After a full disk that is Chromium's affair: once in many
        // runs it never answered a write (which counts as failed after 10 s), and had nothing of the database afterwards.
        const id = await page.evaluate(() => connection.id);
        await page.reload();
        await ready(page);
        const again = await page.evaluate(async ([server, uuid]) => {
            await resume(server, uuid);
            await (await channel.send('again')).acked();
            return connection.id;
        }, [server, uuid]);
        if (again !== id) console.log('   the browser lost what was stored');
        if (way === 'quota') assert.equal(again, id);
    }));
}

test('no room, and leave to go on without a store', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { native, uuid } = await host(scope, server, '--echo');
    const [{ context }, origin] = [await small(scope), await pages(scope)];
    const page = await open(context, origin);
    await page.evaluate(async ([server, uuid]) => {
        const client = await everlink.Client.create({ signaling: server, store: { indexedDb: 'test' } });
        const connection = await client.connectByUuid(uuid, { onStoreFailure: 'go-on-in-memory' });
        const channel = connection.openChannel('numbers', { queue: 'lossless' });
        Object.assign(globalThis, { client, connection, channel, failed: [] });
        (async () => {
            for await (const event of connection.events()) if (event.type === 'store-failed') failed.push(event);
        })();
        await (await channel.send('0 ')).stored();
    }, [server, uuid]);
    assert.equal(await page.evaluate(() => fillStorage()), 'QuotaExceededError');
    const { failed, received } = await page.evaluate(async () => {
        for (let number = 1; number < 1000; number++) {
            await channel.send(`${number} `);
            if (number === 500) cut();
        }
        return { received: await receiveNumbers(channel, 1000), failed };
    });
    check('echo at the page', 1000, received);
    check('at the native host', 1000, native.messages());
    assert.deepEqual(failed.map(({ error, goesOn }) => [error.code, goesOn]), [['full', true]]);
}));
