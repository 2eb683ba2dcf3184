// Gives what modules import and export short names, in the modules and in their glue: `node shorten.mjs GLUE WASM…`.
// wasm-bindgen's names are long and hold hashes, which do not compress, and every page loads them twice.
import { readFileSync, writeFileSync } from 'node:fs';

import { Reader, number, section, text } from './wasm.mjs';

const [, , glueFile, ...modules] = process.argv;
let glue = readFileSync(glueFile, 'utf8');
const given = new Map();

/** The short name of something, and whether it is new. */
function named(what) {
    if (given.has(what)) return [given.get(what), false];
    const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    const count = given.size;
    // With `$`, none is a word of the language.
    given.set(what, (count < 52 ? '' : `${letters[Math.floor(count / 52) - 1]}$`) + letters[count % 52]);
    return [given.get(what), true];
}

function replace(written, by) {
    const before = glue;
    glue = glue.replace(written, () => by);
    if (glue === before) throw new Error(`the glue does not know ${written}`);
}

/** The short name that `written` becomes in the glue. */
function shortened(written, prefix = '') {
    const [short, isNew] = named(written);
    if (isNew) replace(new RegExp(`${written.replace(/[.$]/g, '\\$&')}(?![\\w$])`, 'g'), prefix + short);
    return short;
}

/** What wasm-bindgen calls the module of its own functions. */
const OWN = './everlink_bg.js';

/** An import by short names. What comes from a snippet as it is comes from the glue like the rest. */
function imported(module, name) {
    // What the first module gives its parts has short names.
    if (!module.startsWith('./')) return [module, name];
    if (module === OWN) return ['a', shortened(name)];
    const [short, isNew] = named(`${module} ${name}`);
    if (isNew) {
        const [entry, snippet] = glue.match(new RegExp(`"${module}": (import\\d+),`)) ?? [];
        replace(entry, '');
        replace('const import0 = {', `const import0 = { ${short}: ${snippet}.${name},`);
    }
    return ['a', short];
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
                parts.push(...imported(reader.text(), reader.text()).map(text), reader.description());
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
replace(`"${OWN}"`, 'a');
writeFileSync(glueFile, glue);
