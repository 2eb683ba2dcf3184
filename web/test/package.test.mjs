// The package as it is published: in a bundler, in a worker, in Node. And what goes wrong where it is used.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, existsSync, readFileSync, readdirSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import { build } from 'vite';

import { browser, check, host, open, pages, profile, scoped, signaling, web } from './harness.mjs';

const settings = { timeout: 120_000 };
/** Where `run.sh` unpacked the package, with the dependencies of the tests above it. */
const unpacked = join(web, 'test/build');
const installed = join(unpacked, 'node_modules/everlink');

test('what is published', settings, () => {
    const files = readdirSync(installed, { recursive: true }).map(String);
    for (const wanted of ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'dist/index.js', 'dist/index.d.ts', 'dist/everlink_bg.wasm', 'dist/everlink_host.wasm', 'dist/everlink_store.wasm']) {
        assert.ok(files.includes(wanted), `${wanted} is not in it`);
    }
    const unwanted = files.filter((name) => /^(src|test|bindings|bench)\b|\.(rs|gz)$/.test(name));
    assert.deepEqual(unwanted, []);
    const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    for (const file of Object.values(exports).flatMap((entry) => (typeof entry === 'string' ? [entry] : Object.values(entry)))) {
        assert.ok(existsSync(join(installed, file)), `${file} is not in it`);
    }
});

test('in a bundler, in its page and its worker', settings, scoped(async (scope) => {
    const root = join(unpacked, 'app');
    cpSync(join(web, 'test/app'), root, { recursive: true });
    await build({ root, logLevel: 'error', worker: { format: 'es' }, build: { outDir: 'out', emptyOutDir: true } });
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope, '127.0.0.1', join(root, 'out'));
    const context = await profile(scope, await browser(scope));
    const page = await context.newPage();
    page.on('pageerror', (error) => console.error('page:', error.message));
    await page.goto(`${origin}/index.html`);
    assert.equal(await page.evaluate(([server, uuid]) => inPage(server, uuid), [server, uuid]), 'from the page');
    const worker = await page.evaluate(([server, uuid]) => inWorker(server, uuid, 2000), [server, uuid]);
    assert.equal(worker.without, 'UnsupportedError no-webrtc');
    check('echo at a worker', 2000, worker.received);
    assert.ok(worker.bytes);
    const globals = await page.evaluate(() => Object.keys(globalThis).filter((name) => /everlink|wasm|wbg/i.test(name)));
    assert.deepEqual(globals, []);
}));

test('a page loads what it uses, and says so if it cannot', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const origin = await pages(scope);
    const context = await profile(scope, await browser(scope));
    const modules = [];
    context.on('request', (request) => modules.push(...(/everlink_(\w+)\.wasm$/.exec(request.url())?.slice(1) ?? [])));
    const page = await open(context, origin);
    await page.evaluate(async ([server, uuid]) => {
        globalThis.client = await everlink.Client.create({ signaling: server });
        const connection = await client.connectByUuid(uuid);
        const channel = connection.openChannel('notes');
        await channel.send('hello');
        if ((await channel.receive()) !== 'hello') throw new Error('no echo');
        cut();
        await channel.send('again');
        if ((await channel.receive()) !== 'again') throw new Error('no echo');
        await connection.close();
    }, [server, uuid]);
    assert.deepEqual(modules, ['bg']);

    const expose = (name) => page.evaluate((name) => client.exposeService({ user: `loader${Date.now()}`, service: `${name}@1.0.0` })
        .then(async (service) => (await service.stop(), 'exposed'), (error) => `${error.name} ${error.code} ${error instanceof everlink.LoadError}`), name);
    await context.route('**/everlink_host.wasm', (route) => route.abort());
    assert.equal(await expose('nothing'), 'LoadError not-loaded true');
    await context.unroute('**/everlink_host.wasm');
    await context.route('**/everlink_host.wasm', (route) => route.fulfill({ path: join(web, 'dist/tutorial/everlink_host.wasm'), contentType: 'application/wasm' }));
    assert.equal(await expose('other'), 'LoadError other-build true');
    await context.unroute('**/everlink_host.wasm');
    assert.equal(await expose('right'), 'exposed');
    assert.equal(await expose('again'), 'exposed');
    assert.deepEqual(modules, ['bg', 'host', 'host', 'host']);
    await page.evaluate(async (server) => {
        const client = await everlink.Client.create({ signaling: server, store: 'memory' });
        await client.shutdown();
    }, server);
    assert.deepEqual(modules, ['bg', 'host', 'host', 'host', 'store']);
}));

test('in Node, over a polyfill: with a native host, and as a host', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const example = join(unpacked, 'node');
    cpSync(join(web, 'examples/node/index.mjs'), join(example, 'index.mjs'));
    const { uuid } = await host(scope, server, '--echo');
    const talk = (uuid, count) =>
        new Promise((resolve, reject) => {
            const process = spawn('node', [join(example, 'index.mjs'), server, 'connect', uuid], { stdio: ['pipe', 'pipe', 'inherit'] });
            scope.add(() => process.kill('SIGKILL'));
            const lines = [];
            createInterface({ input: process.stdout }).on('line', (line) => {
                lines.push(line);
                if (lines.length === count) process.stdin.end();
            });
            process.on('exit', (code) => (code === 0 ? resolve(lines) : reject(new Error(`it ended with ${code}`))));
            for (let number = 0; number < count; number++) process.stdin.write(`${number} \n`);
        });
    check('native echo at Node', 1000, await talk(uuid, 1000));
    const exposing = spawn('node', [join(example, 'index.mjs'), server, 'expose', 'node/echo@1.0.0'], { stdio: ['ignore', 'pipe', 'ignore'] });
    scope.add(() => exposing.kill('SIGKILL'));
    const [line] = await new Promise((resolve) => createInterface({ input: exposing.stdout }).once('line', (...line) => resolve(line)));
    check('Node echo at Node', 1000, await talk(line.replace('service ', ''), 1000));
}));

test('a signaling server that lies is found out', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid, name } = await host(scope, server, '--echo');
    const lies = {
        // Another certificate in the description: somebody in the middle.
        fingerprint: (text) => text.replace(/(fingerprint:sha-256 )(..)/g, (_, before, byte) => before + (byte === '00' ? '01' : '00')),
        // Another password, so that the link would go elsewhere.
        password: (text) => text.replace(/(ice-pwd:)(....)/g, '$1AAAA'),
        // Another owner.
        owner: (text) => text.replace(/("owner":")(......)/g, '$1AAAAAA'),
    };
    const page = await open(await profile(scope, await browser(scope)), await pages(scope));
    for (const [what, lie] of Object.entries(lies)) {
        const proxy = await lying(scope, server, lie);
        const said = await page.evaluate(async ([proxy, uuid]) => {
            const client = await everlink.Client.create({ signaling: proxy });
            const connected = client.connectByUuid(uuid, { connectTimeout: 5000 });
            const said = await connected.then(() => 'connected', (error) => `${error.name} ${error.code}`);
            await client.shutdown();
            return said;
        }, [proxy, uuid]);
        console.log(`   ${what}: ${said}`);
        assert.equal(said, 'ConnectError impersonation', what);
    }
    // Unaltered it works, so it was the lies that were refused.
    const honest = await lying(scope, server, (text) => text);
    assert.equal(await page.evaluate(async ([proxy, uuid]) => (await dial(proxy, uuid)).connection.state.type, [honest, uuid]), 'connected');
    void name;
}));

test('what a browser lacks, and what it refuses', settings, scoped(async (scope) => {
    const server = await signaling(scope);
    const { uuid } = await host(scope, server, '--echo');
    const [context, origin] = [await profile(scope, await browser(scope)), await pages(scope)];
    const failing = (page, options) =>
        page.evaluate(
            (options) => everlink.Client.create(options).then((client) => typeof client.publicKey, (error) => `${error.name} ${error.code} ${error instanceof everlink.EverlinkError}`),
            options,
        );
    const page = await open(context, origin);
    assert.equal(await failing(page, {}), 'ArgumentError bad-option true');
    assert.equal(await failing(page, { signaling: 'nonsense' }), 'ArgumentError bad-url true');
    assert.equal(await failing(page, { signaling: server, store: 'disk' }), 'ArgumentError bad-option true');
    const told = await page.evaluate(async ([server, uuid]) => {
        const { Client } = everlink;
        const client = await Client.create({ signaling: server });
        const code = (promise) => promise.then(() => 'fine', (error) => `${error.name} ${error.code}`);
        const thrown = (call) => {
            try {
                call();
                return 'fine';
            } catch (error) {
                return `${error.name} ${error.code}`;
            }
        };
        const { channel, connection } = await dial(server, uuid);
        return {
            uuid: await code(client.connectByUuid('no uuid')),
            unknown: await code(client.connectByUuid('00000000-0000-8000-8000-000000000000', { connectTimeout: 3000 })),
            option: await code(client.connectByUuid(uuid, { backoff: { jitter: 2 } })),
            word: thrown(() => connection.openChannel('x', { priority: 'urgent' })),
            label: thrown(() => connection.openChannel('')),
            data: await code(channel.send(7)),
            large: await code(channel.send(new Uint8Array(17 << 20))),
            key: await code(channel.send('x', { supersede: 'k'.repeat(65) })),
            nobody: await code((await Client.create({ signaling: 'http://127.0.0.1:2' })).connectByUuid(uuid, { connectTimeout: 2000 })),
            taken: await code(client.exposeService({ user: 'x' })),
            aborted: await code(client.connectByUuid(uuid, { signal: AbortSignal.abort() })),
        };
    }, [server, uuid]);
    const { nobody, unknown, aborted, ...rest } = told;
    assert.deepEqual(rest, {
        uuid: 'ArgumentError bad-name', option: 'ArgumentError bad-option', word: 'ArgumentError bad-option',
        label: 'ChannelError bad-label', data: 'ArgumentError bad-data', large: 'SendError too-large',
        key: 'SendError bad-key', taken: 'ArgumentError bad-option',
    });
    assert.equal(unknown, 'ConnectError service-not-found');
    assert.equal(nobody, 'ConnectError unreachable');
    assert.match(aborted, /^AbortError/);

    await page.evaluate(() => {
        delete globalThis.RTCPeerConnection;
        Object.defineProperty(globalThis, 'indexedDB', { value: undefined });
    });
    assert.equal(await failing(page, { signaling: server }), 'UnsupportedError no-webrtc true');
    const bare = await open(context, origin);
    await bare.evaluate(() => Object.defineProperty(globalThis, 'indexedDB', { value: undefined }));
    assert.equal(await failing(bare, { signaling: server, store: { indexedDb: 'x' } }), 'UnsupportedError no-indexeddb true');
    assert.equal(await failing(bare, { signaling: server, store: { indexedDb: 'x', otherwise: 'memory' } }), 'string');

    // No room in the database: nothing is accepted, which is said, and it goes on when there is room again.
    const full = await open(context, origin);
    await full.evaluate(([server, uuid]) => resume(server, uuid), [server, uuid]);
    const refused = await full.evaluate(async () => {
        const said = [];
        const events = connection.events();
        const next = async (...types) => {
            for (;;) {
                const { value } = await events.next();
                if (types.includes(value.type)) return value;
            }
        };
        await (await channel.send('before')).stored();
        const { put } = IDBObjectStore.prototype;
        IDBObjectStore.prototype.put = () => {
            throw new DOMException('no room', 'QuotaExceededError');
        };
        const during = await channel.send('during');
        const { error, goesOn } = await next('store-failed');
        said.push(error.code, goesOn);
        said.push(await channel.send('refused').then(() => 'taken', (error) => `${error.name} ${error.code}`));
        IDBObjectStore.prototype.put = put;
        await next('store-recovered');
        await during.stored();
        await (await channel.send('after')).acked();
        await client.shutdown();
        return said;
    });
    assert.deepEqual(refused, ['full', false, 'StoreError full']);
    // The store's own bound.
    const bounded = await full.evaluate(async ([server, uuid]) => {
        const client = await everlink.Client.create({ signaling: server, store: { indexedDb: 'small', maxBytes: 100_000 } });
        const channel = client.connectLazy({ uuid }).openChannel('x', { queue: 'lossless' });
        for (let number = 0; number < 100; number++) {
            const sent = channel.send(new Uint8Array(50_000)).then((receipt) => Promise.race([receipt.stored(), sleep(2000)]));
            const error = await sent.then(() => undefined, (error) => error);
            if (error) return `${error.name} ${error.code}`;
        }
        return 'no bound';
    }, ['http://127.0.0.1:1', uuid]);
    assert.equal(bounded, 'StoreError full');
}));

/** A proxy of the signaling server that rewrites what it answers. */
async function lying(scope, server, lie) {
    const to = new URL(server);
    const proxy = createServer((incoming, outgoing) => {
        const onward = request(
            { host: to.hostname, port: to.port, path: incoming.url, method: incoming.method, headers: incoming.headers },
            (answer) => {
                const headers = { ...answer.headers };
                delete headers['content-length'];
                outgoing.writeHead(answer.statusCode, headers);
                answer.on('data', (data) => outgoing.write(lie(String(data))));
                answer.on('end', () => outgoing.end());
            },
        );
        onward.on('error', () => outgoing.destroy());
        outgoing.on('close', () => onward.destroy());
        incoming.pipe(onward);
    });
    await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    scope.add(() => (proxy.close(), proxy.closeAllConnections()));
    return `http://127.0.0.1:${proxy.address().port}`;
}
