// `wasm.mjs ARTIFACTS [FILTER]`: runs the test modules that cargo built, each in a page of its own with an empty profile.
// ARTIFACTS is what cargo wrote with `--message-format=json`. What the page has to provide is what wasm-bindgen-test asks
// for: an element for its report, and a say in what is written to the console.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Scope, browser, directory, pages, web } from './harness.mjs';

const [artifacts, filter = ''] = process.argv.slice(2);
const modules = readFileSync(artifacts, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .filter((message) => message.reason === 'compiler-artifact' && message.executable && message.profile.test)
    .map(({ executable, target }) => ({ executable, name: target.name }));
if (modules.length === 0) throw new Error(`cargo built no tests: ${artifacts}`);

const scope = new Scope();
let [passed, failed] = [0, 0];
try {
    const chrome = await browser(scope);
    for (const { executable, name } of modules) {
        const root = directory(scope);
        execFileSync(join(web, 'target/debug/bindgen'), ['--tests', executable, root, 'tests'], { stdio: 'inherit' });
        const origin = await pages(scope, '127.0.0.1', root);
        const context = await chrome.newContext({ permissions: ['camera', 'microphone'] });
        const page = await context.newPage();
        await page.goto(`${origin}/`);
        const outcome = await run(page).catch((error) => ({ ok: false, report: error.message, ran: 0 }));
        await context.close();
        const [good, bad] = (/(\d+) passed; (\d+) failed/.exec(outcome.report) ?? []).slice(1).map(Number);
        passed += good ?? 0;
        // Nobody notices otherwise that the tests are not found any more, or that the page went in the middle of them.
        failed += bad || Number(!outcome.ok || (outcome.ran === 0 && !filter));
        console.log(`   ${name}: ${outcome.report.trim().replaceAll('\n', '\n   ')}`);
    }
} finally {
    await scope.end();
}
console.log(`   ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

/** Runs the tests of one module; gives whether all went well, how many there were, and what was told. */
async function run(page) {
    const running = page.evaluate(async (filter) => {
        document.body.innerHTML = '<pre id="output"></pre>';
        const tests = await import('/tests.js');
        const wasm = await tests.default({ module_or_path: '/tests_bg.wasm' });
        globalThis.__wbg_test_invoke = (test) => test();
        for (const level of ['debug', 'log', 'info', 'warn', 'error']) {
            const hear = tests[`__wbgtest_console_${level}`];
            console[level] = (...args) => hear(args);
        }
        const names = Object.keys(wasm).filter((name) => name.startsWith('__wbgt_') && name.includes(filter));
        if (names.length === 0) return { ok: true, ran: 0, report: 'no such tests' };
        const context = new tests.WasmBindgenTestContext(false);
        const ok = await context.run(names.map((name) => wasm[name]));
        return { ok, ran: names.length, report: document.getElementById('output').textContent };
    }, filter);
    // A test that hangs is named by the report so far.
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, 90_000)));
    try {
        return await Promise.race([
            running,
            late.then(async () => {
                const report = await page.evaluate(() => document.getElementById('output').textContent);
                throw new Error(`${report}\nnot done in 90 s`);
            }),
        ]);
    } finally {
        clearTimeout(timer);
    }
}
