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
