// Gives what a module imports and exports short names, in the module and in its glue: `node shorten.mjs WASM GLUE`.
// wasm-bindgen's names are long and hold hashes, which do not compress, and every page loads them twice.
import { readFileSync, writeFileSync } from 'node:fs';

import { Reader, number, section, text } from './wasm.mjs';

const [, , wasmFile, glueFile] = process.argv;
const reader = new Reader(readFileSync(wasmFile));
let glue = readFileSync(glueFile, 'utf8');
let count = 0;

/** The next short name, which `written` becomes in the glue. */
function shortened(written, prefix = '') {
    const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    // With `$`, none is a word of the language.
    const short = (count < 52 ? '' : `${letters[Math.floor(count / 52) - 1]}$`) + letters[count % 52];
    count++;
    const before = glue;
    glue = glue.replace(new RegExp(`${written.replace(/[.$]/g, '\\$&')}(?![\\w$])`, 'g'), () => prefix + short);
    if (glue === before) throw new Error(`the glue does not know ${written}`);
    return short;
}

const sections = [reader.bytes.subarray(0, 8)];
while (!reader.isOver) {
    const from = reader.at;
    const id = reader.byte();
    const size = reader.number();
    if (id !== 2 && id !== 7) {
        reader.take(size);
        sections.push(reader.bytes.subarray(from, reader.at));
        continue;
    }
    const entries = reader.number();
    const parts = [number(entries)];
    for (let entry = 0; entry < entries; entry++) {
        if (id === 2) {
            const [module, name] = [reader.text(), reader.text()];
            parts.push(text(module), text(shortened(name)), reader.description());
        } else {
            const name = reader.text();
            const at = reader.at;
            reader.byte();
            reader.number();
            // Not all that is exported is used.
            const used = glue.includes(`wasm.${name}`);
            parts.push(text(used ? shortened(`wasm.${name}`, 'wasm.') : name), reader.bytes.subarray(at, reader.at));
        }
    }
    sections.push(section(id, ...parts));
}
writeFileSync(wasmFile, Buffer.concat(sections));
writeFileSync(glueFile, glue);
