// Builds the pages into a directory: `node pages/build.mjs OUT [ENTRY]`. Everything is bundled, so a page asks nobody but its server.
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const [out, entry = join(here, 'tutorial/main.ts')] = process.argv.slice(2);
const font = (name) => join(here, '../node_modules/@fontsource-variable', name);

await mkdir(out, { recursive: true });
await build({
    entryPoints: { main: entry },
    outdir: out,
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['chrome111', 'firefox115', 'safari16.4'],
    charset: 'utf8',
    legalComments: 'eof',
    logLevel: 'warning',
    logOverride: { 'duplicate-object-key': 'silent' },
});
for (const name of ['index.html', 'style.css', 'icon.svg']) await copyFile(join(here, 'tutorial', name), join(out, name));
for (const [name, from] of [
    ['literata.woff2', 'literata/files/literata-latin-wght-normal.woff2'],
    ['literata-italic.woff2', 'literata/files/literata-latin-wght-italic.woff2'],
    ['inter.woff2', 'inter/files/inter-latin-wght-normal.woff2'],
    ['mono.woff2', 'jetbrains-mono/files/jetbrains-mono-latin-wght-normal.woff2'],
]) await copyFile(font(from), join(out, name));
