// What the end-to-end test runs in: a signaling server with its website, the host of a tutorial, an editor in a network of its
// own, and a browser that shows both.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const { CODE_SERVER, EVERLINK_BIN, EVERLINK_SHOTS, SPACE } = process.env;
const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../../..');
/** The two ends of the editor's network: everything else is here. */
const HERE = '10.89.0.1';
const EDITOR = '10.89.0.2';

/** A process whose lines can be waited for. */
class Program {
    constructor(command, args) {
        this.text = '';
        this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
        this.lines = [];
        this.waiting = new Set();
        const take = (line) => {
            this.lines.push(line);
            for (const look of this.waiting) look();
        };
        createInterface({ input: this.process.stdout }).on('line', take);
        createInterface({ input: this.process.stderr }).on('line', take);
        this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    }

    line(pattern, within = 30_000) {
        return new Promise((resolve, reject) => {
            const late = setTimeout(() => {
                this.waiting.delete(look);
                reject(new Error(`no line like ${pattern}; last:\n${this.lines.slice(-10).join('\n')}`));
            }, within);
            const look = () => {
                const found = this.lines.map((line) => pattern.exec(line)).find(Boolean);
                if (!found) return;
                this.waiting.delete(look);
                clearTimeout(late);
                resolve(found);
            };
            this.waiting.add(look);
            look();
        });
    }

    say(line) {
        this.process.stdin.write(`${line}\n`);
    }

    async stop() {
        if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
        await this.ended;
    }
}

/** Everything, until `end`. */
export async function world() {
    const ends = [];
    const end = async () => {
        for (const one of ends.reverse()) await one();
    };
    try {
        const directory = mkdtempSync(join(tmpdir(), 'everlink-code-'));
        ends.push(() => rmSync(directory, { recursive: true, force: true }));
        const program = (command, ...args) => {
            const started = new Program(command, args);
            ends.push(() => started.stop());
            return started;
        };

        const server = program(EVERLINK_BIN, 'serve', '--listen', '0.0.0.0:0', '--web', join(root, 'web/dist'));
        const [, port] = await server.line(/listening on http:\/\/[^\s/]*:(\d+)/);

        const repository = join(directory, 'repository');
        execFileSync('bash', [join(root, 'tests/tutorial/sample.sh'), repository], { stdio: 'ignore' });
        const host = program(
            EVERLINK_BIN, 'tutorial', 'host', repository, '--server', `http://${HERE}:${port}`, '--name', 'Host', '--limit', '5', '--strategy', 'ask', '--identity', join(directory, 'identity'), '--json',
        );
        const [, uuid] = await host.line(/"uuid":\s*"([0-9a-f-]{36})"/);

        // The editor, in its network; the browser comes to it by a port of ours, which is a secure origin.
        const places = Object.fromEntries(['data', 'extensions', 'workspace', 'work'].map((name) => [name, join(directory, name)]));
        for (const place of Object.values(places)) mkdirSync(place);
        writeFileSync(join(places.workspace, 'notes.txt'), 'my notes\n');
        const settings = {
            'everlink.name': 'Editor', 'everlink.workFolder': places.work, 'workbench.startupEditor': 'none', 'workbench.tips.enabled': false,
            'window.confirmBeforeClose': 'never', 'extensions.ignoreRecommendations': true,
        };
        mkdirSync(join(places.data, 'User'));
        writeFileSync(join(places.data, 'User/settings.json'), JSON.stringify(settings));
        const common = ['--user-data-dir', places.data, '--extensions-dir', places.extensions, '--config', join(directory, 'config.yaml')];
        writeFileSync(join(directory, 'config.yaml'), 'auth: none\n');
        execFileSync('node', [CODE_SERVER, ...common, '--install-extension', join(here, '../build/everlink-tutorial.vsix')], { stdio: 'pipe' });
        const code = program(
            'ip', 'netns', 'exec', SPACE, 'node', CODE_SERVER, ...common, '--bind-addr', `${EDITOR}:8080`, '--auth', 'none', '--disable-telemetry', '--disable-update-check',
            '--disable-workspace-trust', places.workspace,
        );
        await code.line(/HTTP server listening/);
        const address = await forward(ends);

        const browser = await chromium.launch({
            executablePath: '/usr/bin/chromium',
            args: [
                '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
                '--allow-loopback-in-peer-connection',
            ],
        });
        ends.push(() => browser.close());
        return {
            host, uuid, places, end, repository,
            link: `everlink://${uuid}?server=${encodeURIComponent(`http://${HERE}:${port}`)}`,
            website: () => site(browser, `http://127.0.0.1:${port}/tutorial#${uuid}`),
            editor: async () => new Editor(await open(browser, address, { viewport: { width: 1500, height: 900 } })),
            cut: () => firewall('-I'),
            heal: () => firewall('-D'),
        };
    } catch (error) {
        await end();
        throw error;
    }
}

/** Cuts the editor off from everybody but the browser that shows it, or the other way around. */
function firewall(what) {
    for (const [chain, device, port] of [['INPUT', '-i', '--dport'], ['OUTPUT', '-o', '--sport']]) {
        const rule = (...match) => execFileSync('ip', ['netns', 'exec', SPACE, 'iptables', what, chain, device, 'v0', ...match, '-j', 'DROP']);
        rule('-p', 'udp');
        rule('-p', 'tcp', '!', port, '8080');
    }
}

/** A port on the loopback that leads to the editor. */
async function forward(ends) {
    const sockets = new Set();
    const server = createServer((socket) => {
        const other = createConnection(8080, EDITOR);
        for (const [one, two] of [[socket, other], [other, socket]]) {
            sockets.add(one);
            one.on('error', () => two.destroy()).on('close', () => (sockets.delete(one), two.destroy())).pipe(two);
        }
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    ends.push(() => new Promise((resolve) => {
        server.close(resolve);
        for (const socket of sockets) socket.destroy();
    }));
    return `http://127.0.0.1:${server.address().port}/`;
}

async function open(browser, address, options = {}) {
    const context = await browser.newContext({ permissions: ['camera', 'microphone'], ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    await page.goto(address);
    return page;
}

/** The website, by which somebody named Ada takes part. */
async function site(browser, address) {
    const page = await open(browser, address);
    const key = (name) => page.locator(`#dock [data-key="${name}"]`);
    return {
        page, key,
        join: async () => {
            await page.locator('#name').fill('Ada');
            await page.locator('#enter').click();
            await page.locator('#dock').getByText(/leads|You lead/).first().waitFor();
        },
        says: (text) => page.locator('#dock').getByText(text).first().waitFor(),
    };
}

let shots = 0;

/** VS Code, as somebody sees it who sits in front of it. */
export class Editor {
    constructor(page) {
        this.page = page;
        this.bar = page.locator('.statusbar-item[id="everlink.everlink-tutorial.everlink.status"], .statusbar-item[id*="everlink.status"]').first();
    }

    /** Waits until the window is there, with the extension in it. */
    async ready() {
        await this.bar.waitFor({ timeout: 60_000 });
    }

    /** Waits until the status bar says so. */
    async says(text, within = 30_000) {
        await this.page.waitForFunction(
            ([selector, expected]) => [...document.querySelectorAll(selector)].some((item) => item.innerText.trim() === expected),
            ['.statusbar-item[id*="everlink.status"]', text], { timeout: within },
        ).catch(async () => {
            throw new Error(`the status bar does not say “${text}”, but “${(await this.bar.innerText()).trim()}”; ${await this.messages()}`);
        });
    }

    async messages() {
        return (await this.page.locator('.notification-list-item-message').allInnerTexts()).join(' | ');
    }

    /** Runs a command as people do: by the palette. */
    async command(name) {
        await this.page.keyboard.press('F1');
        const input = this.page.locator('.quick-input-widget input[type="text"]');
        await input.waitFor();
        await input.fill(`>${name}`);
        await this.page.locator('.quick-input-list .monaco-list-row', { hasText: name }).first().click();
    }

    /** Whether the palette offers a command. */
    async offers(name) {
        await this.page.keyboard.press('F1');
        const input = this.page.locator('.quick-input-widget input[type="text"]');
        await input.waitFor();
        await input.fill(`>${name}`);
        await this.page.waitForTimeout(500);
        const count = await this.page.locator('.quick-input-list .monaco-list-row', { hasText: name }).count();
        await this.page.keyboard.press('Escape');
        return count > 0;
    }

    async type(text) {
        const input = this.page.locator('.quick-input-widget input[type="text"]');
        await input.waitFor();
        await input.fill(text);
        await this.page.waitForTimeout(200);
        await input.press('Enter');
    }

    tab(name) {
        return this.page.locator('.tabs-container .tab', { hasText: name });
    }

    /** Tabs of what cannot be edited. */
    get locked() {
        return this.page.locator('.tabs-container .tab', { has: this.page.locator('[aria-label*="Read-only"]') });
    }

    /** The text of the editor in front, once it has `text` in it. */
    async shows(text) {
        // VS Code draws blanks as no-break spaces.
        await this.page.waitForFunction(
            (expected) => [...document.querySelectorAll('.monaco-editor .view-lines')].some((lines) => lines.innerText.replaceAll('\u00a0', ' ').includes(expected)), text,
        );
    }

    /** The lesson, in the frames that VS Code puts it in. */
    get lesson() {
        return this.page.frameLocator('iframe.webview').frameLocator('iframe#active-frame');
    }

    tree(name) {
        return this.page.locator('.sidebar .monaco-list-row', { hasText: name }).first();
    }

    notification(text) {
        return this.page.locator('.notification-list-item', { hasText: text }).first();
    }

    async clear() {
        await this.command('Notifications: Clear All Notifications');
    }

    async shot(name) {
        if (EVERLINK_SHOTS) await this.page.screenshot({ path: join(EVERLINK_SHOTS, `${String(++shots).padStart(2, '0')}-${name}.png`) });
    }
}
