// Gives what a module imports and exports short names, in the module and in its glue: `node shorten.mjs WASM GLUE`.
// wasm-bindgen's names are long and hold hashes, which do not compress, and every page loads them twice.
import { readFileSync, writeFileSync } from 'node:fs';

import { Reader, number, section, text } from './wasm.mjs';

const [, , wasmFile, glueFile] = process.argv;
const reader = new Reader(readFileSync(wasmFile));
let glue = readFileSync(glueFile, 'utf8');
let count = 0;

/** The next short name. */
function next() {
    const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    // With `$`, none is a word of the language.
    const short = (count < 52 ? '' : `${letters[Math.floor(count / 52) - 1]}$`) + letters[count % 52];
    count++;
    return short;
}

function replace(written, by) {
    const before = glue;
    glue = glue.replace(written, () => by);
    if (glue === before) throw new Error(`the glue does not know ${written}`);
}

/** The short name that `written` becomes in the glue. */
function shortened(written, prefix = '') {
    const short = next();
    replace(new RegExp(`${written.replace(/[.$]/g, '\\$&')}(?![\\w$])`, 'g'), prefix + short);
    return short;
}

/** What wasm-bindgen calls the module of its own functions. */
const OWN = './everlink_bg.js';

/** The short name of an import. What comes from a snippet as it is comes from the glue like the rest. */
function imported(module, name) {
    if (module === OWN) return shortened(name);
    const [entry, snippet] = glue.match(new RegExp(`"${module}": (import\\d+),`)) ?? [];
    replace(entry, '');
    const short = next();
    replace('const import0 = {', `const import0 = { ${short}: ${snippet}.${name},`);
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
            parts.push(text('a'), text(imported(module, name)), reader.description());
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
replace(`"${OWN}"`, 'a');
writeFileSync(wasmFile, Buffer.concat(sections));
writeFileSync(glueFile, glue);
