// Prints what a page downloads, gzipped, beside the goal, and fails above the limit: `node size.mjs GOAL LIMIT [DIRECTORY]`,
// of which a directory within dist/ is another module.
import { readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const [goal, limit] = process.argv.slice(2, 4).map(Number);
const part = process.argv[4] ? `${process.argv[4]}/` : '';
const directory = new URL(`dist/${part}`, import.meta.url);
// What only Node, or only a worker's page, loads is not counted.
const loaded = readdirSync(directory, { recursive: true })
    .filter((name) => /\.(js|wasm)$/.test(name) && !/(^|\/)(node|bridge)\.js$/.test(name) && (part || !/^(tutorial|page)\//.test(name)));
const sizes = loaded.map((name) => [name, gzipSync(readFileSync(new URL(name, directory)), { level: 9 }).length]);
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
for (const [name, size] of sizes) console.log(`   ${name.padEnd(24)} ${kib(size).padStart(10)}`);
console.log(`   ${`${part}gzipped`.padEnd(24)} ${kib(total).padStart(10)}; the goal is ${kib(goal)}, the limit ${kib(limit)}`);
if (total > limit) {
    console.error(`the package is ${kib(total - limit)} larger than its limit`);
    process.exit(1);
}
