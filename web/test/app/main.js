// The package as a bundler sees it: in the page, and in a worker over the bridge.
import { Client } from 'everlink';
import { serveWebRtc } from 'everlink/bridge';

globalThis.inPage = async (signaling, uuid) => {
    const client = await Client.create({ signaling });
    const connection = await client.connectByUuid(uuid);
    const channel = connection.openChannel('page');
    await channel.send('from the page');
    const back = await channel.receive();
    await client.shutdown();
    return back;
};

globalThis.inWorker = (signaling, uuid, count) =>
    new Promise((resolve, reject) => {
        const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
        worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
        worker.onerror = (event) => reject(new Error(event.message));
        const port = serveWebRtc();
        worker.postMessage({ port, signaling, uuid, count }, [port]);
    });
