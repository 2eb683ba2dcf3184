// Figures of the package in Chromium on loopback: `bash web/bench/run.sh`. Throughput is beside a plain RTCDataChannel
// between the same two in the same run, by turns, each without its first quarter: in it Chromium still changes
// its mind about the path, which may stop it for a second or more. Everything else is with a native host.
// EVERLINK_ONLY=throughput or =tutorial leaves the rest out.
import { throughput } from './native.mjs';
import { browser, host, open, pages, profile, scoped, signaling } from '../test/harness.mjs';
import * as tutorial from '../test/tutorial/room.mjs';

const rounds = Number(process.env.EVERLINK_ROUNDS ?? 20);
const bytes = Number(process.env.EVERLINK_BYTES ?? 64 << 20);
const size = 64 << 10;

const sorted = (times) => [...times].sort((one, two) => one - two);
const quantile = (times, q) => sorted(times)[Math.round((times.length - 1) * q)];
const row = (what, value, wanted) => console.log(`${what.padEnd(52)} ${value.padStart(22)}   ${wanted}`);
const times = (what, all, wanted) =>
    row(what, `p50 ${quantile(all, 0.5).toFixed(0)} ms, worst ${quantile(all, 1).toFixed(0)}`, wanted);

await scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const [chrome, origin] = [await browser(scope), await pages(scope)];
    const context = await profile(scope, chrome);
    const page = await open(context, origin);

    const only = process.env.EVERLINK_ONLY;
    if (!only) await others(scope, server, uuid, context, origin, page);
    if (only !== 'throughput') await steps(scope, chrome);
    if (only === 'tutorial') return;

    const runs = Number(process.env.EVERLINK_RUNS ?? 7);
    for (const [direction, what] of [['up', 'page to native'], ['down', 'native to page']]) {
        compare(what, await throughput(scope, server, page, direction, bytes, runs));
    }
    const two = await open(await profile(scope, chrome), origin);
    const results = { everlink: [], raw: [] };
    for (let round = 0; round < runs; round++) {
        results.everlink.push(await durable(server, page, two, round));
        results.raw.push(await raw(page, two));
    }
    compare('page to page', results);
})();
process.exit();

/** The ratio is the median of those of each two runs that followed each other: what else the machine does changes slowly. */
function compare(what, { everlink, raw }) {
    const list = (rates) => rates.map((rate) => rate.toFixed(0)).join(' ');
    row(`64 KiB messages, ${what}`, `${quantile(everlink, 0.5).toFixed(1)} MB/s`, list(everlink));
    row('the same, a plain RTCDataChannel', `${quantile(raw, 0.5).toFixed(1)} MB/s`, list(raw));
    const ratios = everlink.map((rate, at) => (rate / raw[at]) * 100);
    row('ratio', `${quantile(ratios, 0.5).toFixed(0)} %`, `${list(ratios)}, >= 85 %`);
}

async function others(scope, server, uuid, context, origin, page) {
    const connects = await page.evaluate(async ([server, uuid, rounds]) => {
        const took = [];
        for (let round = 0; round < rounds; round++) {
            const client = await everlink.Client.create({ signaling: server });
            const began = performance.now();
            const connection = await client.connectByUuid(uuid);
            const channel = connection.openChannel('first');
            await channel.send('hello');
            await channel.receive();
            took.push(performance.now() - began);
            await client.shutdown();
        }
        return took;
    }, [server, uuid, rounds]);
    times('connect to a native host, first message back', connects, '<= 250 ms');

    const cuts = await page.evaluate(async ([server, uuid, rounds]) => {
        const { client, channel } = await dial(server, uuid);
        const took = [];
        for (let round = 0; round < rounds; round++) {
            await channel.send('before');
            await channel.receive();
            await sleep(200);
            const began = performance.now();
            cut();
            await channel.send('after');
            await channel.receive();
            took.push(performance.now() - began);
        }
        await client.shutdown();
        return took;
    }, [server, uuid, rounds]);
    times('link cut under the page, first message back', cuts, '<= 1000 ms');

    const reloads = [];
    await context.exposeFunction('tell', () => {});
    let reloaded = await open(context, origin);
    await reloaded.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
    await reloaded.evaluate(async () => (await channel.send('before')).acked());
    for (let round = 0; round < Math.min(rounds, 10); round++) {
        const began = performance.now();
        await reloaded.reload();
        await reloaded.evaluate(async () => {
            globalThis.everlink = await import('/dist/index.js');
            Object.assign(globalThis, await import('/test/page.js'));
        });
        await reloaded.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
        await reloaded.evaluate(async () => {
            for await (const state of connection.states()) if (state.type === 'connected') break;
        });
        reloads.push(performance.now() - began);
        await reloaded.evaluate(async () => (await channel.send('after')).acked());
    }
    times('reload, module and session from IndexedDB, resumed', reloads, '<= 1500 ms');
}

/** From a key pressed at the page that leads to the pixels of the step at a page that follows. */
async function steps(scope, chrome) {
    const count = 40;
    const commits = Array.from({ length: count + 1 }, (_, at) => [`action: Step ${at}`, { 'README.md': `# Step ${at}\n\n${'Some words. '.repeat(100)}\n`, 'src/main.rs': `fn main() {\n    println!("{}", ${at});\n}\n`.repeat(20) }]);
    const { url, say } = await tutorial.host(scope, { steps: commits });
    const pages = [];
    for (const name of ['Leader', 'Follower']) pages.push(await tutorial.join(await tutorial.open(await profile(scope, chrome), url), name));
    const [leader, follower] = pages;
    say(`offer Leader`);
    await leader.getByRole('button', { name: 'Take the lead' }).click();
    await tutorial.role(leader, 'leading');
    await follower.evaluate(() => {
        globalThis.shown = {};
        const article = document.querySelector('#article');
        new MutationObserver(() => {
            const { place } = article.dataset;
            // The frame that shows it is out when a task after its callback runs.
            requestAnimationFrame(() => {
                const after = new MessageChannel();
                after.port1.onmessage = () => (globalThis.shown[place] ??= performance.timeOrigin + performance.now());
                after.port2.postMessage(0);
            });
        }).observe(article, { attributeFilter: ['data-place'] });
    });
    const took = [];
    for (let place = 1; place <= count; place++) {
        const began = await leader.evaluate(() => {
            const began = performance.timeOrigin + performance.now();
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
            return began;
        });
        const shown = await (await follower.waitForFunction((place) => globalThis.shown[place], place)).jsonValue();
        took.push(shown - began);
        await new Promise((resolve) => setTimeout(resolve, 150));
    }
    times('step at the leader, to pixels at a follower', took, '<= 50 ms');
}

/** Megabytes a second over a durable channel. */
async function durable(server, from, to, round) {
    const uuid = await to.evaluate(async ([server, round]) => {
        globalThis.host = await exposeNumbers(server, `bench${round}/sink@1.0.0`);
        return host.service.uuid;
    }, [server, round]);
    const [rate] = await Promise.all([
        to.evaluate(async (bytes) => {
            const channel = await (await host.accepted).acceptChannel();
            let [got, began] = [0, 0];
            while (got < bytes) {
                got += (await channel.receive()).length;
                if (got >= bytes / 4) began ||= performance.now();
            }
            const rate = (bytes * 0.75) / 1e3 / (performance.now() - began);
            await channel.commit();
            return rate;
        }, bytes),
        from.evaluate(async ([server, uuid, bytes, size]) => {
            const { client, connection, channel } = await dial(server, uuid);
            const chunk = new Uint8Array(size);
            for (let sent = 0; sent < bytes; sent += size) await channel.send(chunk);
            await connection.flush();
            await client.shutdown();
        }, [server, uuid, bytes, size]),
    ]);
    await to.evaluate(() => host.client.shutdown());
    return rate;
}

/** Megabytes a second over a plain data channel, with the flow control of the usual examples. */
async function raw(from, to) {
    const describe = (page, what, description) =>
        page.evaluate(async ([what, description]) => {
            if (!globalThis.raw || what === 'offer') {
                const pc = new RTCPeerConnection();
                const channel = pc.createDataChannel('raw', { negotiated: true, id: 0 });
                channel.binaryType = 'arraybuffer';
                globalThis.raw = { pc, channel, opened: new Promise((resolve) => (channel.onopen = resolve)) };
            }
            const { pc } = globalThis.raw;
            if (description) await pc.setRemoteDescription(description);
            if (what) {
                await pc.setLocalDescription();
                if (pc.iceGatheringState !== 'complete') {
                    await new Promise((resolve) => pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && resolve()));
                }
            }
            return pc.localDescription.toJSON();
        }, [what, description]);
    await to.evaluate(() => delete globalThis.raw);
    const offer = await describe(from, 'offer');
    const answer = await describe(to, 'answer', offer);
    const receiving = to.evaluate((bytes) => {
        const { channel } = globalThis.raw;
        let [got, began] = [0, 0];
        return new Promise((resolve) => {
            channel.onmessage = ({ data }) => {
                got += data.byteLength;
                if (got >= bytes / 4) began ||= performance.now();
                if (got >= bytes) resolve((bytes * 0.75) / 1e3 / (performance.now() - began));
            };
        });
    }, bytes);
    await describe(from, '', answer);
    await from.evaluate(async ([bytes, size]) => {
        const { channel, opened } = globalThis.raw;
        await opened;
        const chunk = new Uint8Array(size);
        channel.bufferedAmountLowThreshold = 512 << 10;
        for (let sent = 0; sent < bytes; sent += size) {
            channel.send(chunk);
            if (channel.bufferedAmount > 1 << 20) await new Promise((resolve) => (channel.onbufferedamountlow = resolve));
        }
    }, [bytes, size]);
    const rate = await receiving;
    for (const page of [from, to]) await page.evaluate(() => raw.pc.close());
    return rate;
}
