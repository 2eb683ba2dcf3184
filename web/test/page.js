// What runs in the pages of the tests.
const { Client } = globalThis.everlink;

/** Connects to an echo and opens a channel that never drops. */
export async function dial(signaling, uuid, options = {}) {
    const client = await Client.create({ signaling, ...options.client });
    const connection = await client.connectByUuid(uuid, options.connection);
    const channel = connection.openChannel('numbers', { queue: 'lossless' });
    return { client, connection, channel };
}

/**
 * Sends `count` numbers and waits until all of them are acknowledged. The links are cut `cuts` times meanwhile, evenly, each
 * time when the connection has come back from the one before, and with messages on their way.
 */
export async function sendNumbers(connection, channel, count, { cuts = 0, cut = globalThis.cut, pad = '' } = {}) {
    const before = connection.stats.reconnects;
    let last;
    let done = 0;
    for (let number = 0; number < count; number++) {
        if (done < cuts && number === Math.floor((count / (cuts + 1)) * (done + 1))) {
            while (connection.stats.reconnects < before + done) await sleep(10);
            await cut();
            done++;
        }
        last = await channel.send(`${number} ${pad}`);
    }
    await last?.acked();
    return connection.stats.reconnects - before;
}

export const sleep = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/** Receives until `count` messages are there, and tells each. */
export async function receiveNumbers(channel, count, tell = () => {}) {
    const received = [];
    for await (const message of channel) {
        received.push(message);
        tell(received.length, message);
        if (received.length === count) break;
    }
    // Asking for the next one would acknowledge the last, and there is none.
    await channel.commit();
    return received;
}

/** Exposes a service whose sessions send back what they receive. */
export async function exposeEcho(signaling, name, { client: clientOptions, tell = () => {}, ...options } = {}) {
    const client = await Client.create({ signaling, ...clientOptions });
    const [user, service] = name.split('/');
    const exposed = await client.exposeService({ user, service, ...options });
    const received = [];
    (async () => {
        for await (const connection of exposed) {
            (async () => {
                for await (const channel of connection.channels()) {
                    (async () => {
                        for await (const message of channel) {
                            received.push(message);
                            tell(received.length);
                            await channel.send(message);
                        }
                    })();
                }
            })();
        }
    })();
    return { client, service: exposed, received };
}

/** Exposes a service; its first session is `accepted`. */
export async function exposeNumbers(signaling, name, options = {}) {
    const client = await Client.create({ signaling, ...options });
    const [user, service] = name.split('/');
    const exposed = await client.exposeService({ user, service });
    return { client, service: exposed, accepted: exposed.accept() };
}

/** Sends and receives numbers at once, as the peer of `globalThis.host` or as that host. Both cut their links. */
export async function exchange(signaling, uuid, count, role) {
    let connection;
    let channel;
    if (role === 'host') {
        connection = await globalThis.host.accepted;
        channel = await connection.acceptChannel();
    } else {
        ({ connection, channel } = await dial(signaling, uuid));
    }
    const cuts = role === 'host' ? 1 : 3;
    const [received, reconnects] = await Promise.all([
        receiveNumbers(channel, count),
        sendNumbers(connection, channel, count, { cuts }),
    ]);
    // Until the peer has received everything, too.
    await connection.flush();
    return { received, reconnects };
}

/** Takes up the session in IndexedDB, or begins it; tells of what comes back by `tell`. */
export async function resume(signaling, uuid) {
    const client = await Client.create({ signaling, store: { indexedDb: 'test' } });
    const connection = client.connectLazy({ uuid }, { queue: 'lossless', backoff: { base: 100, maxAttempts: null } });
    const channel = connection.openChannel('numbers', { queue: 'lossless' });
    Object.assign(globalThis, { client, connection, channel });
    (async () => {
        for await (const message of channel) {
            // Received is what the test has noted, whatever becomes of this page then.
            await globalThis.tell?.(message);
        }
    })();
}

/** Sends numbers from `from` on, in blocks; those of a block that is stored are owed, and noted. */
export async function sendStored(from, to) {
    for (let number = from; number < to; number += 50) {
        const block = Array.from({ length: Math.min(50, to - number) }, (_, at) => number + at);
        let last;
        for (const each of block) last = await globalThis.channel.send(`${each} `);
        await last.stored();
        await globalThis.note(block);
    }
}

const filler = { name: 'filler', database: undefined, filling: undefined, stop: false };

const settled = (request, anew = () => {}) =>
    new Promise((resolve, reject) => {
        request.onupgradeneeded = () => anew(request.result);
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });

/** Writes random bytes, which nobody compresses; gives the name of the error, if it is one. */
async function put(size) {
    try {
        filler.database ??= await settled(indexedDB.open(filler.name, 1), (database) => {
            database.createObjectStore('bytes', { autoIncrement: true });
        });
        const transaction = filler.database.transaction('bytes', 'readwrite');
        const done = new Promise((resolve) => {
            transaction.onabort = () => resolve(transaction.error?.name ?? 'aborted');
            transaction.oncomplete = () => resolve();
        });
        const bytes = new Uint8Array(size);
        for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
        transaction.objectStore('bytes').put(bytes);
        return await done;
    } catch (error) {
        // Firefox ends a database that met the bound.
        filler.database?.close();
        filler.database = undefined;
        return error.name;
    }
}

/**
 * Takes all that the browser allows this site, to the last byte, by another database; and goes on taking what becomes free
 * as databases are put in order. Gives what the browser said of the largest piece that there was no room for.
 */
export async function fillStorage() {
    const { promise, resolve } = Promise.withResolvers();
    filler.stop = false;
    filler.filling = (async () => {
        while (!filler.stop) {
            let first;
            for (let size = 1 << 20; size >= 1; size >>= 2) {
                let error;
                while (!filler.stop && !(error = await put(size))) continue;
                first ??= error;
            }
            resolve(first);
            await sleep(100);
        }
    })();
    return promise;
}

/** Gives it back. */
export async function emptyStorage() {
    filler.stop = true;
    await filler.filling;
    filler.database?.close();
    filler.database = undefined;
    await settled(indexedDB.deleteDatabase(filler.name));
}
