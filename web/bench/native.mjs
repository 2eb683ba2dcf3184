// Throughput between a page and a native end (tests/bench/web.rs), by everlink and over a plain RTCDataChannel to a plain
// program on the same native stack, by turns. Each without its first quarter, as between pages.
import { dirname, join } from 'node:path';

import { Native, binary } from '../test/harness.mjs';

const program = process.env.EVERLINK_BENCH ?? join(dirname(binary), 'examples/web_bench');
const size = 64 << 10;

/** Gives the rates of `rounds` runs in megabytes a second, as `{ everlink, raw }`. `direction` is of the page: `up` or `down`. */
export async function throughput(scope, server, page, direction, bytes, rounds) {
    const host = new Native(scope, { program }, 'everlink', server);
    const uuid = await host.line((line) => line);
    const rates = { everlink: [], raw: [] };
    for (let round = 0; round < rounds; round++) {
        rates.everlink.push(await durable(host, server, uuid, page, direction, bytes));
        rates.raw.push(await raw(scope, page, direction, bytes));
    }
    await host.stop('SIGKILL');
    return rates;
}

async function durable(host, server, uuid, page, direction, bytes) {
    const before = host.lines.length;
    const rate = await page.evaluate(async ([server, uuid, direction, bytes, size]) => {
        const client = await everlink.Client.create({ signaling: server });
        const connection = await client.connectByUuid(uuid);
        const channel = connection.openChannel(`${direction} ${bytes}`);
        let rate;
        if (direction === 'down') {
            let [got, began] = [0, 0];
            while (got < bytes) {
                got += (await channel.receive()).length;
                if (got >= bytes / 4) began ||= performance.now();
            }
            rate = (bytes * 0.75) / 1e3 / (performance.now() - began);
        } else {
            const chunk = new Uint8Array(size);
            for (let sent = 0; sent < bytes; sent += size) await channel.send(chunk);
            await connection.flush();
        }
        await client.shutdown();
        return rate;
    }, [server, uuid, direction, bytes, size]);
    return rate ?? Number(await host.line(() => host.lines[before]));
}

async function raw(scope, page, direction, bytes) {
    const native = new Native(scope, { program }, 'raw', direction, String(bytes));
    const offer = JSON.parse(await native.line((line) => line));
    const answer = await page.evaluate(async ([offer, direction, bytes, size]) => {
        const pc = new RTCPeerConnection();
        const channel = pc.createDataChannel('raw', { negotiated: true, id: 0 });
        channel.binaryType = 'arraybuffer';
        let [got, began] = [0, 0];
        globalThis.raw = { pc };
        raw.done = new Promise((resolve) => {
            if (direction === 'down') {
                channel.onmessage = ({ data }) => {
                    got += data.byteLength;
                    if (got >= bytes / 4) began ||= performance.now();
                    if (got >= bytes) resolve((bytes * 0.75) / 1e3 / (performance.now() - began));
                };
                return;
            }
            channel.onopen = async () => {
                // The flow control of the usual examples.
                const chunk = new Uint8Array(size);
                channel.bufferedAmountLowThreshold = 512 << 10;
                for (let sent = 0; sent < bytes; sent += size) {
                    channel.send(chunk);
                    if (channel.bufferedAmount > 1 << 20) await new Promise((resolve) => (channel.onbufferedamountlow = resolve));
                }
                resolve();
            };
        });
        await pc.setRemoteDescription({ type: 'offer', sdp: offer });
        await pc.setLocalDescription();
        if (pc.iceGatheringState !== 'complete') {
            await new Promise((resolve) => pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && resolve()));
        }
        return pc.localDescription.sdp;
    }, [offer, direction, bytes, size]);
    native.process.stdin.write(`${JSON.stringify(answer)}\n`);
    const rate = (await page.evaluate(() => raw.done)) ?? Number(await native.line(() => native.lines[1]));
    await page.evaluate(() => raw.pc.close());
    await native.stop('SIGKILL');
    return rate;
}
