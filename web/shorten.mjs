// Gives what a module imports and exports short names, in the module and in its glue: `node shorten.mjs WASM GLUE`.
// wasm-bindgen's names are long and hold hashes, which do not compress, and every page loads them twice.
import { readFileSync, writeFileSync } from 'node:fs';

const [, , wasmFile, glueFile] = process.argv;
const bytes = readFileSync(wasmFile);
let glue = readFileSync(glueFile, 'utf8');
let at = 8; // behind the magic number and the version

function number() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
        const byte = bytes[at++];
        value += (byte & 127) * 2 ** shift;
        if (byte < 128) return value;
    }
}
function text() {
    const length = number();
    at += length;
    return bytes.toString('utf8', at - length, at);
}
function encoded(value) {
    const out = [];
    for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
    return Buffer.from([...out, value]);
}
const named = (name) => Buffer.concat([encoded(Buffer.byteLength(name)), Buffer.from(name)]);

/** What follows the names of an import. */
function description() {
    const from = at;
    const limits = () => {
        const flags = number();
        number();
        if (flags & 1) number();
    };
    const kind = bytes[at++];
    if (kind === 0) number();
    else if (kind === 1) (at++, limits());
    else if (kind === 2) limits();
    else if (kind === 3) at += 2;
    else throw new Error(`an import of kind ${kind}`);
    return bytes.subarray(from, at);
}

const short = new Map();
function shortened(name, pattern) {
    // One letter, or two; none of them is a word of the language.
    const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    const next = short.size;
    const made = next < 52 ? letters[next] : letters[Math.floor(next / 52) - 1] + '$' + letters[next % 52];
    short.set(pattern, made);
    const before = glue;
    glue = glue.replace(new RegExp(pattern.replace(/[.$]/g, '\\$&') + '(?![\\w$])', 'g'), pattern.startsWith('wasm.') ? `wasm.${made}` : made);
    if (glue === before) throw new Error(`the glue does not know ${name}`);
    return made;
}

const sections = [bytes.subarray(0, 8)];
while (at < bytes.length) {
    const from = at;
    const id = bytes[at++];
    const size = number();
    const end = at + size;
    if (id !== 2 && id !== 7) {
        sections.push(bytes.subarray(from, end));
        at = end;
        continue;
    }
    const count = number();
    const entries = [encoded(count)];
    for (let entry = 0; entry < count; entry++) {
        if (id === 2) {
            const [module, name] = [text(), text()];
            entries.push(named(module), named(shortened(name, name)), description());
        } else {
            const name = text();
            const kind = at++;
            number();
            // The glue asks for some exports by name only in parts of it that are not there.
            const used = glue.includes(`wasm.${name}`);
            entries.push(named(used ? shortened(name, `wasm.${name}`) : name), bytes.subarray(kind, at));
        }
    }
    const body = Buffer.concat(entries);
    sections.push(Buffer.from([id]), encoded(body.length), body);
}
writeFileSync(wasmFile, Buffer.concat(sections));
writeFileSync(glueFile, glue);
