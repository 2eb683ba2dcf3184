// Divides a module into what every page needs and parts that are loaded on demand: `node split.mjs DIRECTORY`, which holds
// `everlink_bg.wasm` with names, and `everlink.js`, its glue. A part is `everlink_NAME.wasm`, and joins the memory, the table
// and the functions of the first module when the glue's `loadPart` is called.
//
// A function belongs to a part if only the part's entries lead to it: those entries are exports, which JavaScript calls when
// the part is there, and functions of types that nothing else makes (the `poll` of a service's task), which are called
// by the table. What anything else calls directly stays, whatever it is named. So no two functions may have become one that
// has one of their names; with `--whole`, where that cannot be had, everything stays and the parts are empty.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Reader, number, renumbered, section, text } from './wasm.mjs';

/** The entries of each part: exports, and the types whose functions only the part calls; and JavaScript that only it calls. */
const PARTS = {
    // Exposing services. A room is one.
    host: {
        exports: /^(rawclient_(exposeService|claimUsername|services)|(__wbg_)?rawservice_|(__wbg_)?rawroom_)/,
        types: /signaling::host|expose_service|RawService|durable::service|ServiceEvent|ServiceRegistration|claim_username|RawClient>::services|tutorial::room|tutorial::core::room|RawRoom/,
    },
    // Sessions that outlive the page.
    store: {
        exports: /^((__wbg_)?rawstore_|rawidentity_loadOrCreate)/,
        types: /store::indexed_db|store::memory|web::database|resuming::InStore|RawStore|load_or_create/,
        snippets: /\/web\/database\.js$/,
    },
};

/** Up to how many bytes a function is copied into a part that calls it. */
const SHORT = 40;

/** The type of the elements of a table of functions. */
const FUNCTIONS = 0x70;

const [, , directory, whole] = process.argv;
const file = join(directory, 'everlink_bg.wasm');
const glueFile = join(directory, 'everlink.js');
const bytes = readFileSync(file);

// ---------------------------------------------------------------------------------------------------- what there is
const reader = new Reader(bytes);
const sections = [];
const functions = []; // { module, name, type } of an import, else { body, type }
const globals = [];
const tables = [];
const exported = [];
const elements = [];
const names = [];
const entries = (each) => {
    for (let left = reader.number(); left > 0; left--) each();
};
while (!reader.isOver) {
    const from = reader.at;
    const id = reader.byte();
    const end = reader.number() + reader.at;
    const start = reader.at;
    if (id === 2) {
        entries(() => {
            const [module, name] = [reader.text(), reader.text()];
            const description = reader.description();
            if (description[0] !== 0) throw new Error(`${module} ${name} is imported, and no function`);
            functions.push({ module, name, description });
        });
    } else if (id === 3) {
        entries(() => functions.push({ type: reader.number(), calls: new Set() }));
    } else if (id === 4) {
        entries(() => {
            const [type, flags, least] = [reader.byte(), reader.byte(), reader.number()];
            tables.push({ type, least, most: flags & 1 ? reader.number() : undefined });
        });
    } else if (id === 6) {
        entries(() => {
            const type = reader.take(2);
            while (reader.byte() !== 0x0b);
            globals.push(Buffer.concat([Buffer.from([3]), type]));
        });
    } else if (id === 7) {
        entries(() => exported.push({ name: reader.text(), kind: reader.byte(), index: reader.number() }));
    } else if (id === 9) {
        entries(() => {
            if (reader.number() !== 0 || reader.byte() !== 0x41) throw new Error('a segment of elements that is not simply active');
            const offset = reader.number();
            reader.byte();
            const from = elements.length;
            entries(() => elements.push({ slot: offset + elements.length - from, index: reader.number() }));
        });
    } else if (id === 10) {
        let index = functions.findIndex((one) => one.calls);
        entries(() => {
            const one = functions[index++];
            one.body = reader.take(reader.number());
            renumbered(one.body, (kind, at) => (kind === 'function' && one.calls.add(at), at));
        });
    } else if (id === 0 && reader.text() === 'name') {
        while (reader.at < end) {
            const kind = reader.byte();
            const after = reader.number() + reader.at;
            if (kind === 1) entries(() => (names[reader.number()] = reader.text().replace(/\[[0-9a-f]{16}\]/g, '')));
            reader.at = after;
        }
    }
    reader.at = end;
    sections.push({ id, whole: bytes.subarray(from, end), content: bytes.subarray(start, end) });
}
const exportsOf = new Map();
for (const { name, kind, index } of exported) if (kind === 0) exportsOf.set(index, [...(exportsOf.get(index) ?? []), name]);

// The table holds a function for each kind of closure that wasm-bindgen was told of, though JavaScript calls it by an export, and has
// none of the kinds that are not used. Those give their place to a function that is there anyway.
const isUnused = ({ index }) => !exportsOf.has(index) && names[index]?.startsWith('wasm_bindgen::convert::closures::_::invoke');
const used = elements.find((element) => !isUnused(element));
for (const element of elements.filter(isUnused)) element.index = used.index;

// ----------------------------------------------------------------------------------------- what belongs to which part
const roots = [...exportsOf.keys(), ...elements.map(({ index }) => index)];
const partOf = new Map();
for (const [part, { exports, types }] of Object.entries(PARTS)) {
    const isEntry = (index) => !whole && (exportsOf.has(index) ? exportsOf.get(index).every((name) => exports.test(name)) : types.test(names[index] ?? ''));
    // All that can be reached by something else.
    const reached = new Set();
    const waiting = roots.filter((index) => !isEntry(index));
    while (waiting.length > 0) {
        const index = waiting.pop();
        if (reached.has(index)) continue;
        reached.add(index);
        waiting.push(...(functions[index].calls ?? []));
    }
    // Of the entries, too, if there are any of it: what is dead is left to wasm-opt.
    const belongs = new Set();
    waiting.push(...roots.filter((index) => isEntry(index) && !reached.has(index)));
    while (waiting.length > 0) {
        const index = waiting.pop();
        if (reached.has(index) || belongs.has(index) || !functions[index].body) continue;
        belongs.add(index);
        waiting.push(...functions[index].calls);
    }
    for (const index of belongs) partOf.set(index, partOf.has(index) ? undefined : part);
}

// ------------------------------------------------------------------------------------------------ the modules written
// A part fits the module it was cut from and no other: what it imports is named by that one's content.
const fits = createHash('sha256').update(bytes).digest('base64url').slice(0, 8);
const shared = new Map();
/** The name by which the first module exports something to its parts. */
const share = (kind, index) => {
    const key = `${kind} ${index}`;
    if (!shared.has(key)) shared.set(key, { name: `$${shared.size.toString(36)}`, kind, index });
    return shared.get(key).name;
};
/** Functions go by the table, as exports would be thrice as long: what the first module adds to it for its parts. */
const added = [];
const functionTable = tables.findIndex(({ type }) => type === FUNCTIONS);
const addFunction = (index) => {
    if (!added.includes(index)) added.push(index);
    return added.indexOf(index).toString(36);
};
const isCalled = (name) => ({ id, content }) => id === 0 && content.subarray(1, 1 + content[0]).toString() === name;
const list = (items) => [number(items.length), ...items];
const magic = bytes.subarray(0, 8);
const segment = (slot, indices) => Buffer.concat([Buffer.from([0, 0x41]), signed(slot), Buffer.from([0x0b]), ...list(indices.map(number))]);
/** A number of which the highest bit written says the sign. */
function signed(value) {
    const bytes = [];
    for (; value > 63; value >>= 7) bytes.push((value & 127) | 128);
    return Buffer.from([...bytes, value]);
}
/** Elements as segments without holes. */
function segments(elements, renumber) {
    const runs = [];
    for (const { slot, index } of elements) {
        const last = runs.at(-1);
        if (last && last.slot + last.indices.length === slot) last.indices.push(renumber(index));
        else runs.push({ slot, indices: [renumber(index)] });
    }
    return runs.map(({ slot, indices }) => segment(slot, indices));
}

for (const part of Object.keys(PARTS)) {
    const own = [...functions.keys()].filter((index) => partOf.get(index) === part);
    // What is as short as the way to it is there twice.
    const seen = new Set(own);
    for (const index of own) {
        for (const called of functions[index].calls) {
            if (!seen.has(called) && functions[called].body?.length <= SHORT) own.push(called);
            seen.add(called);
        }
    }
    const imports = [];
    const add = (module, name, description) => imports.push(Buffer.concat([text(module), text(name), description]));
    const known = { function: new Map(), global: new Map(), table: new Map() };
    const mention = (kind, index) => {
        // What is no name of anything.
        if (!known[kind]) return index;
        if (known[kind].has(index)) return known[kind].get(index);
        if (kind === 'function') {
            const { module, name, description, type } = functions[index];
            if (module === undefined) add(fits, addFunction(index), Buffer.concat([Buffer.from([0]), number(type)]));
            else add(module, name, description);
        } else if (kind === 'global') {
            add(fits, share(3, index), globals[index]);
        } else {
            const { type, least } = tables[index];
            add(fits, share(1, index), Buffer.concat([Buffer.from([1, type, 0]), number(least)]));
        }
        known[kind].set(index, known[kind].size);
        return known[kind].get(index);
    };
    // The tables as they are numbered in the first module.
    tables.forEach((_, index) => mention('table', index));
    const isOwn = new Set(own);
    for (const index of own) for (const called of functions[index].calls) if (!isOwn.has(called)) mention('function', called);
    for (const index of own) known.function.set(index, known.function.size);
    const bodies = own.map((index) => renumbered(functions[index].body, mention));
    add(fits, share(2, 0), Buffer.concat([Buffer.from([2]), sections.find(({ id }) => id === 5).content.subarray(1)]));
    const exports = exported.filter(({ kind, index }) => kind === 0 && partOf.get(index) === part);
    writeFileSync(join(directory, `everlink_${part}.wasm`), Buffer.concat([
        magic,
        sections.find(({ id }) => id === 1).whole,
        section(2, ...list(imports)),
        section(3, ...list(own.map((index) => number(functions[index].type)))),
        section(7, ...list(exports.map(({ name, index }) => Buffer.concat([text(name), Buffer.from([0]), number(mention('function', index))])))),
        section(9, ...list(segments(elements.filter(({ index }) => partOf.get(index) === part), (index) => mention('function', index)))),
        section(10, ...list(bodies.map((body) => Buffer.concat([number(body.length), body])))),
        // What wasm-opt must know.
        ...sections.filter(isCalled('target_features')).map(({ whole }) => whole),
    ]));
}

const isFirst = (index) => partOf.get(index) === undefined;
const unreachable = Buffer.from([3, 0, 0x00, 0x0b]);
const slots = added.map((index, at) => ({ slot: tables[functionTable].least + at, index }));
writeFileSync(file, Buffer.concat([magic, ...sections.map(({ id, whole }) => {
    if (id === 4) {
        const added = (index) => (index === functionTable ? slots.length : 0);
        const limits = ({ least, most }, more) => (most === undefined ? [0, least + more] : [1, least + more, most + more]);
        return section(4, ...list(tables.map((table, index) => Buffer.concat([table.type, ...limits(table, added(index))].map(number)))));
    }
    if (id === 7) {
        const kept = exported.filter(({ kind, index }) => kind !== 0 || isFirst(index));
        const all = [...kept, ...shared.values()];
        return section(7, ...list(all.map(({ name, kind, index }) => Buffer.concat([text(name), Buffer.from([kind]), number(index)]))));
    }
    if (id === 9) return section(9, ...list(segments([...elements.filter(({ index }) => isFirst(index)), ...slots], (index) => index)));
    if (id === 10) {
        return section(10, ...list(functions.flatMap(({ body }, index) => (body === undefined ? [] : [isFirst(index) ? Buffer.concat([number(body.length), body]) : unreachable]))));
    }
    return whole;
})]));

// The glue calls what is exported by one name for all modules, and takes what only a part calls when the part is loaded.
let glue = readFileSync(glueFile, 'utf8');
const alongside = {};
for (const [part, { snippets }] of Object.entries(PARTS)) {
    if (whole || !snippets) continue;
    const takes = new Map();
    glue = glue.replace(/^import (\{ .* \}|\* as (\w+)) from ['"](.*)['"];?$/gm, (line, names, name, from) => {
        if (!snippets.test(from)) return line;
        takes.set(from, [...(takes.get(from) ?? []), `(${name ?? names} = module);`]);
        // What the first module is given of it is nothing, which it does not call.
        return `let ${name ? `${name} = {}` : names.slice(2, -2)};`;
    });
    const taken = [...takes].map(([from, lines]) => `import('${from}').then((module) => { ${lines.join(' ')} })`);
    if (taken.length > 0) alongside[part] = `    ${part}: () => Promise.all([${taken.join(', ')}]),\n`;
}
// Instead of wasm-bindgen's own loading, which does what `load.ts` does.
const LOADING = /async function __wbg_load[^]*$/;
if (!LOADING.test(glue)) throw new Error('the glue loads modules in another way than it did');
writeFileSync(glueFile, `${glue.replace(LOADING, '')}
const alongside = {
${Object.values(alongside).join('')}};

async function instantiate(source, imports) {
    if (source instanceof Response) {
        if (!source.ok) throw new Error(\`\${source.url} gives \${source.status} \${source.statusText}\`);
        // Streaming takes no other type.
        const streams = source.headers.get('content-type') === 'application/wasm';
        source = await (streams ? WebAssembly.compileStreaming(source) : source.arrayBuffer());
    }
    const made = await WebAssembly.instantiate(source, imports);
    return made.instance ?? made;
}

/** Loads the first module. */
export async function loadFirst(source) {
    __wbg_finalize_init(await instantiate(source, __wbg_get_imports()));
}

/** Adds a part to the module that is loaded. */
export async function loadPart(part, source) {
    await alongside[part]?.();
    const { exports } = wasmInstance;
    const functions = Array.from({ length: ${added.length} }, (_, at) => [at.toString(36), exports.${share(1, functionTable)}.get(${tables[functionTable].least} + at)]);
    const instance = await instantiate(source, { ...__wbg_get_imports(), '${fits}': { ...exports, ...Object.fromEntries(functions) } });
    wasm = { ...wasm, ...instance.exports };
}
`);
const types = join(directory, 'everlink.d.ts');
writeFileSync(types, `${readFileSync(types, 'utf8').replace(/export type SyncInitInput[^]*$/, '')}
/** A module: a response, bytes, or compiled. */
export type ModuleInput = Response | BufferSource | WebAssembly.Module;

/** Loads the first module. */
export function loadFirst(source: ModuleInput): Promise<void>;

/** Adds a part to the module that is loaded. */
export function loadPart(part: string, source: ModuleInput): Promise<void>;
`);
for (const part of Object.keys(PARTS)) {
    const own = [...functions.keys()].filter((index) => partOf.get(index) === part);
    console.log(`   ${part}: ${own.length} functions, ${own.reduce((sum, index) => sum + functions[index].body.length, 0)} bytes`);
}
console.log(`   shared: ${added.length}`);
