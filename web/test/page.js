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
