// A room as tests and benchmarks need it: a repository, a terminal that hosts it, and the page.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

import { Native, directory, web } from '../harness.mjs';

/** A repository of commits: each a subject and its files. */
export function repository(scope, commits) {
    const path = directory(scope);
    const git = (...args) => {
        const run = spawnSync('git', ['-C', path, '-c', 'user.name=Ada', '-c', 'user.email=ada@example.org', '-c', 'core.quotePath=false', ...args], {
            env: { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' },
        });
        assert.equal(run.status, 0, String(run.stderr));
    };
    git('init', '--quiet', '--initial-branch=gitorial');
    for (const [subject, files] of commits) {
        for (const [name, text] of Object.entries(files)) {
            mkdirSync(dirname(`${path}/${name}`), { recursive: true });
            writeFileSync(`${path}/${name}`, text);
        }
        git('add', '--all');
        git('commit', '--quiet', '--allow-empty', '-m', subject);
    }
    return path;
}

export const STEPS = [
    ['section: A greeting', { 'README.md': '# A greeting\n\nWe write a program that **greets**.\n' }],
    ['action: Set up', { 'README.md': '# Set up\n\n- `src/main.rs`\n', 'src/main.rs': 'fn main() {}\n' }],
    ['template: Say hello', { 'README.md': '# Say hello\n\nGreet the world.\n', 'src/main.rs': 'fn main() {\n    // TODO\n}\n' }],
    ['solution: Say hello', { 'src/main.rs': 'fn main() {\n    println!("Hello!");\n}\n' }],
    ['action: Run it', { 'README.md': '# Run it\n\nBy `cargo run`.\n' }],
    ['section: The end', { 'README.md': '# The end\n\nWell done.\n' }],
];

/** A server with the page, and a terminal that hosts. */
export async function host(scope, { steps = STEPS, args = [] } = {}) {
    const serve = new Native(scope, 'serve', '--listen', '127.0.0.1:0', '--web', `${web}/dist`);
    const server = await serve.line((line) => /listening on (http\S+)/.exec(line)?.[1]);
    const terminal = new Native(scope, 'tutorial', 'host', repository(scope, steps), '--server', server, '--name', 'Ada', '--json', ...args);
    // Each line is told once: what is waited for comes after what was waited for before.
    let from = 0;
    const told = (event, right = () => true) => {
        let number = 0;
        return terminal.line((line) => {
            if (number++ < from) return undefined;
            const said = JSON.parse(line);
            if (said.event !== event || !right(said)) return undefined;
            from = number;
            return said;
        });
    };
    const { uuid, web: address } = await told('room');
    await told('leader', ({ you }) => you);
    return { server, uuid, url: address, terminal, told, say: (text) => terminal.process.stdin.write(`${text}\n`) };
}

/** Opens the page; gives it with what was wrong about it. */
export async function open(context, url) {
    const page = await context.newPage();
    page.wrong = [];
    page.on('pageerror', (error) => page.wrong.push(error.message));
    page.on('console', (message) => message.type() === 'error' && !message.location().url.includes('/v1/') && page.wrong.push(message.text()));
    page.on('request', (request) => {
        const { origin, protocol } = new URL(request.url());
        if (!/^(blob|data):/.test(protocol) && origin !== new URL(url).origin) page.wrong.push(`asked ${request.url()}`);
    });
    await page.goto(url);
    return page;
}

export async function join(page, name, { observer = false } = {}) {
    await page.getByLabel(/Your name/).fill(name);
    if (observer) await page.getByLabel('Only watch').check();
    await page.getByRole('button', { name: 'Join' }).click();
    await role(page, undefined);
    return page;
}

/** Waits until the page is in the room, and is this in it. */
export const role = (page, is) => page.waitForFunction((is) => document.body.dataset.view === 'room' && (!is || document.body.dataset.role === is), is, { timeout: 30_000 });
export const at = (page, place) => page.waitForFunction((place) => document.querySelector('#article').dataset.place === place, place, { timeout: 20_000 });
export const button = (page, name) => page.getByRole('button', { name, exact: true });
