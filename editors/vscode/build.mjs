// Builds the extension: `node build.mjs`, after `bash web/build.sh`. One CommonJS file, and beside it the module and the
// native WebRTC, which cannot be in it.
//   --unit   the unit tests instead, into build/unit
//   --package   and packs it into build/everlink-tutorial.vsix, for the platform whose WebRTC is installed
//   --fake   the extension over a room in memory, into build/fake/dist, to look at it
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('.', import.meta.url)));
const require = createRequire(import.meta.url);
const common = { bundle: true, platform: 'node', target: 'node20', logLevel: 'warning', legalComments: 'none' };

if (process.argv.includes('--unit')) {
    rmSync('build/unit', { recursive: true, force: true });
    const tests = readdirSync('test/unit').filter((name) => name.endsWith('.test.ts'));
    await build({ ...common, format: 'esm', outdir: 'build/unit', outExtension: { '.js': '.mjs' }, entryPoints: tests.map((name) => `test/unit/${name}`) });
    process.exit();
}

const fake = process.argv.includes('--fake');
const dist = fake ? 'build/fake/dist' : 'dist';
rmSync(dist, { recursive: true, force: true });
const wasm = join(dirname(realpathSync('node_modules/everlink/package.json')), 'dist/tutorial/everlink_bg.wasm');
if (!fake && !existsSync(wasm)) {
    console.error('the npm package is not built: run `bash web/build.sh` first');
    process.exit(1);
}
await build({
    ...common,
    format: 'cjs',
    entryPoints: ['src/extension.ts'],
    outfile: `${dist}/extension.js`,
    external: ['vscode'],
    minify: !fake,
    keepNames: true,
    metafile: true,
    // The package looks for its module beside itself.
    define: { 'import.meta.url': 'moduleUrl' },
    banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
    plugins: fake ? [{ name: 'fake', setup: (on) => on.onResolve({ filter: /everlink\.js$/ }, () => ({ path: join(process.cwd(), 'test/fake/everlink.ts') })) }] : [],
}).then(({ metafile }) => writeFileSync(`${dist}/THIRD-PARTY.txt`, notices(Object.keys(metafile.inputs))));
for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) cpSync(`../../${name}`, name);

if (!fake) {
    cpSync(wasm, `${dist}/everlink_bg.wasm`);
    // Where `require('@node-datachannel/…')` of the bundle finds it: that of each platform which is installed.
    for (const platform of readdirSync('node_modules/@node-datachannel')) {
        cpSync(`node_modules/@node-datachannel/${platform}`, `${dist}/node_modules/@node-datachannel/${platform}`, { recursive: true });
    }
}

if (process.argv.includes('--package')) {
    const targets = { 'linux-x64-gnu': 'linux-x64', 'linux-arm64-gnu': 'linux-arm64', 'linux-x64-musl': 'alpine-x64', 'linux-arm64-musl': 'alpine-arm64', 'win32-x64-msvc': 'win32-x64', 'win32-arm64-msvc': 'win32-arm64' };
    const platforms = readdirSync(`${dist}/node_modules/@node-datachannel`);
    // With several it is for all of them.
    const target = platforms.length === 1 ? ['--target', targets[platforms[0]] ?? platforms[0]] : [];
    mkdirSync('build', { recursive: true });
    const vsce = join(dirname(require.resolve('@vscode/vsce/package.json')), 'vsce');
    execFileSync(process.execPath, [vsce, 'package', '--no-dependencies', '--skip-license', '--out', 'build/everlink-tutorial.vsix', ...target], { stdio: 'inherit' });
}

/** The licences of what is in the bundle, and of the native part. */
function notices(inputs) {
    const packages = new Set(['node-datachannel']);
    for (const input of inputs) {
        const name = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules)/.exec(input)?.[1];
        if (name && name !== 'everlink') packages.add(name);
    }
    return [...packages].sort().map((name) => {
        const folder = `node_modules/${name}`;
        const { version, license, repository } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'));
        const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
        const source = typeof repository === 'string' ? repository : repository?.url;
        return `${name} ${version}, ${license}\n${source ?? ''}\n\n${file ? readFileSync(`${folder}/${file}`, 'utf8').trim() : ''}\n`;
    }).join(`\n${'-'.repeat(80)}\n\n`);
}
