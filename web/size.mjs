// Prints what a page that connects downloads, gzipped, and fails above the limit, unless that is 0; and what it downloads
// beside once it does more: `node size.mjs LIMIT [PACKAGE]`, of which the last is a directory within dist/.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const limit = Number(process.argv[2]);
const part = process.argv[3] ? `${process.argv[3]}/` : '';
const directory = new URL(`dist/${part}`, import.meta.url);
const loaded = ['everlink_bg.wasm', 'index.js'];
// What these load in turn; the entries for Node and for workers are others.
for (const name of loaded) {
    if (!name.endsWith('.js')) continue;
    for (const [, other] of readFileSync(new URL(name, directory), 'utf8').matchAll(/from\s*"\.\/([^"]+)"/g)) {
        if (!loaded.includes(other)) loaded.push(other);
    }
}
// By gzip, as `everlink serve` sends it: the zlib of Node is that of Chromium, which trades 1 % of size for speed.
const gzipped = (name) => execFileSync('gzip', ['-9nc', fileURLToPath(new URL(name, directory))]).length;
const sizes = loaded.map((name) => [name, gzipped(name)]);
const later = ['everlink_host.wasm', 'everlink_store.wasm'];
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
for (const [name, size] of sizes) console.log(`   ${name.padEnd(20)} ${kib(size).padStart(10)}`);
console.log(`   ${`${part}gzipped`.padEnd(20)} ${kib(total).padStart(10)}${limit ? `; the limit is ${kib(limit)}` : ''}`);
for (const name of later) console.log(`   ${name.padEnd(20)} ${kib(gzipped(name)).padStart(10)} more, on demand`);
if (limit && total > limit) {
    console.error(`the package is ${kib(total - limit)} larger than its limit`);
    process.exit(1);
}
