// Everlink in Node: the same package, with a WebRTC from npm.
//
//   npm install
//   node index.mjs http://127.0.0.1:3000 expose alice/chat@1.0.0     # prints a uuid
//   node index.mjs http://127.0.0.1:3000 connect UUID                # in another terminal: type lines
import { createInterface } from 'node:readline';

import { Client } from 'everlink';
import { RTCPeerConnection } from 'node-datachannel/polyfill';

// The package uses the one of the browser, or whatever stands for it.
globalThis.RTCPeerConnection = RTCPeerConnection;

const [signaling, what, name] = process.argv.slice(2);
if (!name) {
    console.error('usage: node index.mjs SERVER expose USER/SERVICE@VERSION | SERVER connect UUID');
    process.exit(2);
}
const client = await Client.create({ signaling });

if (what === 'expose') {
    const [user, service] = name.split('/');
    const exposed = await client.exposeService({ user, service });
    console.log(`service ${exposed.uuid}`);
    for await (const connection of exposed) void echo(connection);
} else {
    const connection = await client.connectByUuid(name);
    const channel = connection.openChannel('main', { queue: 'lossless' });
    void (async () => {
        for await (const message of channel) console.log(message);
    })();
    for await (const line of createInterface({ input: process.stdin })) await channel.send(line);
    // Everything that was typed has arrived when this returns.
    await connection.flush();
    await connection.close();
    await client.shutdown();
    // The polyfill has threads of its own, which would keep the process.
    process.exit();
}

async function echo(connection) {
    for await (const channel of connection.channels()) {
        void (async () => {
            for await (const message of channel) {
                console.error(`< ${message}`);
                await channel.send(message);
            }
        })();
    }
}
