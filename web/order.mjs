// Names the functions of a module so that sorted by name, as `wasm-opt --reorder-functions-by-name` does it, those that
// are alike stand together, where compression finds it, and tells all alignments alike: `node order.mjs IN OUT`.
import { readFileSync, writeFileSync } from 'node:fs';

import { Reader, aligned, number, section, text } from './wasm.mjs';

/** How many bytes in a row count as alike; how many functions may share them and still mean something. */
const RUN = 8;
const SHARED = 300;
/** How far back a compressor sees. */
const WINDOW = 32_000;

const [, , from, to] = process.argv;
const reader = new Reader(readFileSync(from));
let imported = 0;
const bodies = [];
const sections = [reader.bytes.subarray(0, 8)];
while (!reader.isOver) {
    const begin = reader.at;
    const id = reader.byte();
    const end = reader.number() + reader.at;
    if (id === 2) {
        for (let left = reader.number(); left > 0; left--) {
            reader.text();
            reader.text();
            if (reader.description()[0] === 0) imported++;
        }
    } else if (id === 10) {
        for (let left = reader.number(); left > 0; left--) bodies.push(aligned(reader.take(reader.number())));
    }
    reader.at = end;
    sections.push(id === 10 ? code() : reader.bytes.subarray(begin, end));
}

function code() {
    return section(10, number(bodies.length), ...bodies.flatMap((body) => [number(body.length), body]));
}

// Which functions have a run of bytes, and which runs a function.
const having = new Map();
const runs = bodies.map((body, at) => {
    const found = new Set();
    for (let start = 0; start + RUN <= body.length; start++) found.add(body.toString('latin1', start, start + RUN));
    for (const run of found) {
        if (!having.has(run)) having.set(run, []);
        having.get(run).push(at);
    }
    return found;
});
for (const found of runs) {
    for (const run of found) if (having.get(run).length > SHARED) found.delete(run);
}

// Always next the function of which the largest part stands in the window already.
const likeness = new Array(bodies.length).fill(0);
const inWindow = new Map();
const window = [];
let size = 0;
const left = new Set(bodies.keys());
const order = [];
function count(at, by) {
    for (const run of runs[at]) {
        const before = inWindow.get(run) ?? 0;
        inWindow.set(run, before + by);
        if (before === 0 || before + by === 0) for (const other of having.get(run)) likeness[other] += by;
    }
}
let next = bodies.reduce((longest, body, at) => (body.length > bodies[longest].length ? at : longest), 0);
while (left.size > 0) {
    left.delete(next);
    order.push(next);
    count(next, 1);
    window.push(next);
    size += bodies[next].length;
    while (size > WINDOW && window.length > 1) {
        const gone = window.shift();
        size -= bodies[gone].length;
        count(gone, -1);
    }
    let best = -1;
    for (const at of left) {
        const score = likeness[at] / (bodies[at].length + 20);
        if (score > best) [best, next] = [score, at];
    }
}

const rank = new Map(order.map((at, place) => [at, place]));
const names = bodies.map((_, at) => Buffer.concat([number(imported + at), text(String(rank.get(at)).padStart(6, '0'))]));
const named = section(0, text('name'), section(1, number(names.length), ...names));
writeFileSync(to, Buffer.concat([...sections, named]));
