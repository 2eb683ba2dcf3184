// What the tests share: a signaling server and native peers as processes, a web server for the pages, browsers, and the
// judge of what was sent and received.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

const here = fileURLToPath(new URL('.', import.meta.url));
export const web = join(here, '..');
export const binary = process.env.EVERLINK_BIN ?? join(web, '../target/debug/everlink');

/** Everything that a test started, ended in the opposite order. */
export class Scope {
    #ends = [];
    natives = [];
    add(end) {
        this.#ends.push(end);
    }
    /** What the processes said last, for whoever looks for the cause of a failure. */
    last() {
        return this.natives.map(({ args, lines, errors }) => `   ${args.slice(0, 2).join(' ')}\n${lines.slice(-8).join('\n')}\n${errors.slice(-1000)}`).join('\n');
    }
    async end() {
        for (const end of this.#ends.reverse()) await end();
    }
}

/** A directory of its own. */
export function directory(scope) {
    const path = mkdtempSync(join(tmpdir(), 'everlink-web-'));
    scope.add(() => rmSync(path, { recursive: true, force: true }));
    return path;
}

/** A native process whose lines can be waited for. */
export class Native {
    /**
     * @param {Scope} scope
     * @param args the first may be `{ program }`, another program than `everlink`
     */
    constructor(scope, ...args) {
        const { program } = typeof args[0] === 'object' ? args.shift() : { program: binary };
        this.args = args;
        this.lines = [];
        this.errors = '';
        scope.natives.push(this);
        this.process = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
        this.waiting = new Set();
        createInterface({ input: this.process.stdout }).on('line', (line) => {
            this.lines.push(line);
            for (const look of this.waiting) look();
        });
        this.process.stderr.on('data', (data) => (this.errors += data));
        this.ended = new Promise((resolve) => this.process.on('exit', (code) => resolve(code)));
        // Not gently: it would wait for peers that are gone.
        scope.add(() => this.stop('SIGKILL'));
    }

    /** The first line for which `found` gives something, as that. */
    line(found, within = 20_000) {
        let seen = 0;
        return new Promise((resolve, reject) => {
            const late = setTimeout(() => {
                this.waiting.delete(look);
                reject(new Error(`no such line in time; last: ${this.lines.slice(-3)}; ${this.errors}`));
            }, within);
            const look = () => {
                for (; seen < this.lines.length; seen++) {
                    const value = found(this.lines[seen]);
                    if (value !== undefined && value !== null && value !== false) {
                        this.waiting.delete(look);
                        clearTimeout(late);
                        return resolve(value);
                    }
                }
            };
            this.waiting.add(look);
            look();
        });
    }

    async stop(signal = 'SIGTERM') {
        if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill(signal);
        const late = setTimeout(() => this.process.kill('SIGKILL'), 5000);
        await this.ended;
        clearTimeout(late);
    }

    /** The texts of the messages received so far, in their order (with `--json`). */
    messages() {
        return this.lines
            .filter((line) => line.includes('"message"'))
            .map((line) => JSON.parse(line))
            .filter((line) => line.event === 'message')
            .map((line) => line.text ?? line.base64);
    }
}

/** The signaling server's address. */
export async function signaling(scope, listen = '127.0.0.1:0') {
    const server = new Native(scope, 'serve', '--listen', listen);
    return await server.line((line) => /listening on (http\S+)/.exec(line)?.[1]);
}

let number = 0;

/** A native host; gives the process and the uuid. */
export async function host(scope, server, ...more) {
    const identity = join(directory(scope), 'identity');
    const name = `host${process.pid}x${++number}/echo@1.0.0`;
    const native = new Native(scope, 'expose', name, '--server', server, '--identity', identity, '--json', ...more);
    const uuid = await native.line((line) => line.startsWith('{') && JSON.parse(line).uuid);
    return { native, uuid, name };
}

const types = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.html': 'text/html', '.wasm': 'application/wasm' };

/** Serves the package at `/dist/`, the tests' pages at `/test/`, and an empty page at every other path. */
export async function pages(scope, address = '127.0.0.1', root = web) {
    const server = createServer(async (request, response) => {
        const path = normalize(new URL(request.url, 'http://x').pathname);
        const type = types[extname(path)];
        try {
            const body = type ? await readFile(join(root, path)) : '<!doctype html><title>test</title>';
            response.writeHead(200, { 'content-type': type ?? 'text/html' }).end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    await new Promise((resolve) => server.listen(0, address, resolve));
    scope.add(() => new Promise((resolve) => (server.close(resolve), server.closeAllConnections())));
    return `http://${address}:${server.address().port}`;
}

const flags = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--allow-loopback-in-peer-connection',
];

/** Keeps the links of a page where the test can cut them; runs before the page does. */
export const instrument = () => {
    const Native = globalThis.RTCPeerConnection;
    const links = new Set();
    if (Native) {
        globalThis.RTCPeerConnection = class extends Native {
            constructor(...args) {
                super(...args);
                links.add(this);
            }
        };
    }
    globalThis.cut = () => {
        const count = links.size;
        for (const link of links) link.close();
        links.clear();
        return count;
    };
};

/** Headless Chromium that finds peers on loopback; `more` are flags beside. */
export async function browser(scope, more = []) {
    const launched = await chromium.launch({ executablePath: '/usr/bin/chromium', args: [...flags, ...more] });
    scope.add(() => launched.close());
    return launched;
}

/** Headless Chromium with its profile in this directory; `more` are flags beside. Gives its only context. */
export async function launchIn(scope, directory, more = []) {
    const context = await chromium.launchPersistentContext(directory, {
        executablePath: '/usr/bin/chromium', permissions: ['camera', 'microphone'], args: [...flags, ...more],
    });
    await context.addInitScript(instrument);
    scope.add(() => context.close());
    return context;
}

/** A profile of its own in a browser. */
export async function profile(scope, launched) {
    const context = await launched.newContext({ permissions: ['camera', 'microphone'] });
    await context.addInitScript(instrument);
    scope.add(() => context.close());
    return context;
}

/**
 * Headless Chromium that hides, slows, freezes and keeps pages as it does for people: Playwright has it show all of them
 * and keep none. Opens pages by Puppeteer's interface.
 */
export async function plain(scope, origin) {
    const launched = await puppeteer.launch({
        browser: 'chrome', executablePath: '/usr/bin/chromium', headless: true, userDataDir: directory(scope), args: flags,
        ignoreDefaultArgs: [
            '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding',
        ],
    });
    scope.add(() => launched.close());
    await launched.defaultBrowserContext().overridePermissions(origin, ['camera', 'microphone']);
    return {
        async open() {
            const page = await launched.newPage();
            page.on('pageerror', (error) => console.error('page:', error.message));
            await page.evaluateOnNewDocument(instrument);
            await page.goto(`${origin}/`);
            await ready(page);
            return page;
        },
        /** Puts another tab before all others. */
        hide: async () => (await launched.newPage()).bringToFront(),
    };
}

/** A page with the package and the helpers of `page.js`. */
export async function open(context, origin) {
    const page = await context.newPage();
    page.on('pageerror', (error) => console.error('page:', error.message));
    page.on('console', (message) => {
        if (message.type() === 'error') console.error('page:', message.text());
    });
    await page.goto(`${origin}/`);
    await ready(page);
    return page;
}

/** Loads package and helpers into a page, as globals of the test. */
export async function ready(page) {
    await page.evaluate(async () => {
        globalThis.everlink = await import('/dist/index.js');
        Object.assign(globalThis, await import('/test/page.js'));
    });
}

/** Stands in what was received for a restart of the receiver. */
export const RESTART = null;

/**
 * Judges what one end received of numbered messages: `owed` is how many there were, from 0 on, or a list of those that
 * must have arrived (others may have). Each once and in order; but after a {@link RESTART} those come again whose
 * acknowledgement was not stored yet, in order, too.
 */
export function check(what, owed, received) {
    const numbers = typeof owed === 'number' ? Array.from({ length: owed }, (_, number) => number) : owed;
    const seen = new Set();
    const counts = { lost: 0, doubled: 0, reordered: 0, invented: 0 };
    let again = 0;
    let now = new Set();
    let last = -1;
    for (const text of received) {
        if (text === RESTART) {
            now = new Set();
            last = -1;
            continue;
        }
        const number = Number.parseInt(text, 10);
        if (now.has(number)) counts.doubled++;
        else if (number < last) counts.reordered++;
        else if (seen.has(number)) again++;
        if (!(number >= 0) || (typeof owed === 'number' && number >= owed)) counts.invented++;
        seen.add(number);
        now.add(number);
        last = Math.max(last, number);
    }
    for (const number of numbers) if (!seen.has(number)) counts.lost++;
    const { lost, doubled, reordered, invented } = counts;
    const verdict =
        `${what}: ${numbers.length} sent, ${seen.size} received, ${lost} lost, ${doubled} doubled, ${reordered} out of order` +
        (again ? `, ${again} again after a restart` : '');
    console.log(`   ${verdict}`);
    if (lost || doubled || reordered || invented) throw new Error(verdict);
}

/** A test whose processes and browsers end with it. */
export function scoped(body) {
    return async (t) => {
        const scope = new Scope();
        try {
            await body(scope, t);
        } catch (error) {
            console.error(scope.last());
            throw error;
        } finally {
            await scope.end();
        }
    };
}
