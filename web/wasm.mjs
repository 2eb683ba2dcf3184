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

/** The opcodes of loads and stores, from 0x28 on, and as which power of two the alignment of each is told. */
const ALIGNMENTS = [2, 3, 2, 3, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 2, 3, 2, 3, 0, 1, 0, 1, 2];
const NO_OPERAND = new Set([0x00, 0x01, 0x05, 0x0b, 0x0f, 0x1a, 0x1b]);
const ONE_OPERAND = new Set([
    0x02, 0x03, 0x04, 0x0c, 0x0d, 0x10, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x3f, 0x40, 0x41, 0x42, 0xd0, 0xd2,
]);

/**
 * A function with the natural alignment told for each load and store. It is a hint that has no meaning to engines, and
 * what is told alike compresses better.
 */
export function aligned(body) {
    const reader = new Reader(Buffer.from(body));
    reader.at = 0;
    const skip = (count) => {
        for (; count > 0; count--) reader.number();
    };
    for (let groups = reader.number(); groups > 0; groups--) skip(2);
    while (!reader.isOver) {
        const code = reader.byte();
        if (code >= 0x28 && code <= 0x3e) {
            if (reader.bytes[reader.at] >= 64) throw new Error('more than one memory');
            reader.bytes[reader.at++] = ALIGNMENTS[code - 0x28];
            skip(1);
        } else if (code === 0x0e) {
            skip(reader.number() + 1);
        } else if (code === 0x43 || code === 0x44) {
            reader.take(code === 0x43 ? 4 : 8);
        } else if (code === 0xfc) {
            const more = reader.number();
            if (more >= 18) throw new Error(`instruction 0xfc ${more}`);
            // Of memory and tables: two operands, or one.
            if (more >= 8) skip([8, 10, 12, 14].includes(more) ? 2 : 1);
        } else if (code === 0x11 || code === 0x1c) {
            skip(2);
        } else if (ONE_OPERAND.has(code)) {
            skip(1);
        } else if (code > 0xc4 || !(code >= 0x45 || NO_OPERAND.has(code))) {
            throw new Error(`instruction 0x${code.toString(16)}`);
        }
    }
    return reader.bytes;
}
