import { Client } from 'everlink';
import { installWebRtc } from 'everlink/bridge';

addEventListener('message', async ({ data: { port, signaling, uuid, count } }) => {
    try {
        const without = await Client.create({ signaling }).catch((error) => `${error.name} ${error.code}`);
        installWebRtc(port);
        const client = await Client.create({ signaling });
        const connection = await client.connectByUuid(uuid);
        const channel = connection.openChannel('worker', { queue: 'lossless' });
        const received = [];
        const sending = (async () => {
            for (let number = 0; number < count; number++) await channel.send(`${number} `);
        })();
        while (received.length < count) received.push(await channel.receive());
        await sending;
        const bytes = new Uint8Array(1 << 20).fill(7);
        await channel.send(bytes);
        const back = await channel.receive();
        await client.shutdown();
        postMessage({ without, received, bytes: back.length === bytes.length && back.every((byte) => byte === 7) });
    } catch (error) {
        postMessage({ error: `${error?.name} ${error?.code} ${error?.message} ${error?.stack}` });
    }
});
