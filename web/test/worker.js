// A worker of the tests, over the bridge: it streams numbers to an echo until it is told that it is enough.
import { installWebRtc } from '/dist/bridge.js';
import { Client } from '/dist/index.js';

const events = [];
const received = [];
const times = [];
let sent = 0;
let enough = false;
let sending;
let connection;

const calls = {
    async begin({ port, signaling, uuid, store }) {
        installWebRtc(port);
        const client = await Client.create({ signaling, store });
        connection = await client.connectByUuid(uuid, { backoff: { maxAttempts: null } });
        (async () => {
            for await (const event of connection.events()) events.push(event.type);
        })();
        sending = stream(connection.openChannel('numbers', { queue: 'lossless' }));
    },
    /** The time is that of the clock, which page and worker have in common. */
    look: () => ({ sent, received: received.length, times, events: events.splice(0), state: connection.state.type }),
    async end() {
        enough = true;
        await sending;
        return { sent, received };
    },
};

async function stream(channel) {
    const receive = async () => {
        received.push(await channel.receive());
        times.push(Date.now());
    };
    let last;
    while (!enough) {
        last = await channel.send(`${sent++} `);
        // Not more than the echo keeps up with.
        while (sent - received.length > 200 && !enough) await receive();
    }
    while (received.length < sent) await receive();
    await channel.commit();
    await last.acked();
}

addEventListener('message', async ({ data: { call, method, arg } }) => {
    try {
        postMessage({ call, value: await calls[method](arg) });
    } catch (error) {
        postMessage({ call, error: `${error?.name} ${error?.code} ${error?.message}` });
    }
});
