// The little of WebAssembly's binary format that the scripts beside this need.

/** Reads a module. */
export class Reader {
    constructor(bytes) {
        this.bytes = bytes;
        this.at = 8; // behind the magic number and the version
    }

    get isOver() {
        return this.at >= this.bytes.length;
    }

    byte() {
        return this.bytes[this.at++];
    }

    number() {
        let value = 0;
        for (let scale = 1; ; scale *= 128) {
            const byte = this.byte();
            value += (byte & 127) * scale;
            if (byte < 128) return value;
        }
    }

    take(length) {
        this.at += length;
        return this.bytes.subarray(this.at - length, this.at);
    }

    text() {
        return this.take(this.number()).toString();
    }

    /** What follows the names of an import, as it is; its first byte is the kind. */
    description() {
        const from = this.at;
        const limits = () => {
            const flags = this.number();
            this.number();
            if (flags & 1) this.number();
        };
        const kind = this.byte();
        if (kind === 0) this.number();
        else if (kind === 1) (this.byte(), limits());
        else if (kind === 2) limits();
        else if (kind === 3) this.take(2);
        else throw new Error(`an import of kind ${kind}`);
        return this.bytes.subarray(from, this.at);
    }
}

export function number(value) {
    const bytes = [];
    for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
    return Buffer.from([...bytes, value]);
}

export function text(value) {
    return Buffer.concat([number(Buffer.byteLength(value)), Buffer.from(value)]);
}

export function section(id, ...parts) {
    const body = Buffer.concat(parts);
    return Buffer.concat([Buffer.from([id]), number(body.length), body]);
}

/** What stands behind an instruction, by its code: numbers (how many), bytes, a list, or what something is called by. */
const OPERANDS = {
    ...Object.fromEntries([0x02, 0x03, 0x04, 0x0c, 0x0d, 0x20, 0x21, 0x22, 0x3f, 0x40, 0x41, 0x42, 0xd0].map((code) => [code, { numbers: 1 }])),
    ...Object.fromEntries(Array.from({ length: 0x17 }, (_, at) => [0x28 + at, { numbers: 2 }])),
    0x0e: { list: 1 }, 0x1c: { list: 0 },
    0x10: { name: 'function' }, 0xd2: { name: 'function' }, 0x11: { numbers: 1, name: 'table' },
    0x23: { name: 'global' }, 0x24: { name: 'global' }, 0x25: { name: 'table' }, 0x26: { name: 'table' },
    0x43: { bytes: 4 }, 0x44: { bytes: 8 },
};
/** The same behind the byte 0xfc. */
const MORE_OPERANDS = {
    ...Object.fromEntries(Array.from({ length: 8 }, (_, code) => [code, {}])),
    0x0a: { bytes: 2 }, 0x0b: { bytes: 1 }, 0x0f: { name: 'table' }, 0x10: { name: 'table' }, 0x11: { name: 'table' },
};
const isBare = (code) => [0x00, 0x01, 0x05, 0x0b, 0x0f, 0x1a, 0x1b, 0xd1].includes(code) || (code >= 0x45 && code <= 0xc4);

/**
 * A function's body with other numbers for what it mentions: `changed(kind, number)` gives the one to write for each
 * `function`, `global` and `table`.
 */
export function renumbered(body, changed) {
    const reader = new Reader(body);
    reader.at = 0;
    for (let groups = reader.number(); groups > 0; groups--) {
        reader.number();
        reader.byte();
    }
    const parts = [];
    let copied = 0;
    while (!reader.isOver) {
        const code = reader.byte();
        const more = code === 0xfc ? reader.number() : undefined;
        const operands = more === undefined ? (OPERANDS[code] ?? (isBare(code) && {})) : MORE_OPERANDS[more];
        // What is not known must not be taken for what has nothing behind it.
        if (!operands) throw new Error(`an instruction ${code.toString(16)} ${more ?? ''}`);
        for (let left = operands.numbers ?? 0; left > 0; left--) reader.number();
        reader.take(operands.bytes ?? 0);
        if (operands.list !== undefined) for (let left = reader.number() + operands.list; left > 0; left--) reader.number();
        if (operands.name) {
            const from = reader.at;
            const before = reader.number();
            const after = changed(operands.name, before);
            if (after !== before) {
                parts.push(body.subarray(copied, from), number(after));
                copied = reader.at;
            }
        }
    }
    return Buffer.concat([...parts, body.subarray(copied)]);
}
