// Gives what modules import and export short names, in the modules and in their glue: `node shorten.mjs GLUE WASM…`.
// wasm-bindgen's names are long and hold hashes, which do not compress, and every page loads them twice.
import { readFileSync, writeFileSync } from 'node:fs';

import { Reader, number, section, text } from './wasm.mjs';

const [, , glueFile, ...modules] = process.argv;
let glue = readFileSync(glueFile, 'utf8');
const given = new Map();

/** The short name for what is `written` in the glue, where it takes its place. */
function shortened(written, prefix = '') {
    if (given.has(written)) return given.get(written);
    const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    const count = given.size;
    // With `$`, none is a word of the language.
    const short = (count < 52 ? '' : `${letters[Math.floor(count / 52) - 1]}$`) + letters[count % 52];
    const before = glue;
    glue = glue.replace(new RegExp(`${written.replace(/[.$]/g, '\\$&')}(?![\\w$])`, 'g'), () => prefix + short);
    if (glue === before) throw new Error(`the glue does not know ${written}`);
    given.set(written, short);
    return short;
}

for (const module of modules) {
    const reader = new Reader(readFileSync(module));
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
                const [from, name] = [reader.text(), reader.text()];
                // A part's imports from the first module have short names.
                parts.push(text(from), text(from.startsWith('./') ? shortened(name) : name), reader.description());
            } else {
                const name = reader.text();
                const at = reader.at;
                reader.byte();
                reader.number();
                // Not all that is exported is used.
                const used = given.has(`wasm.${name}`) || glue.includes(`wasm.${name}`);
                parts.push(text(used ? shortened(`wasm.${name}`, 'wasm.') : name), reader.bytes.subarray(at, reader.at));
            }
        }
        sections.push(section(id, ...parts));
    }
    writeFileSync(module, Buffer.concat(sections));
}
writeFileSync(glueFile, glue);
