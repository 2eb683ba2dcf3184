// A QR code of a link: byte mode, error correction M, versions 1 to 10 (213 bytes).

/** Of each version: codewords, blocks, error correction codewords of a block. */
const VERSIONS = [
    [26, 1, 10], [44, 1, 16], [70, 1, 26], [100, 2, 18], [134, 2, 24],
    [172, 4, 16], [196, 4, 18], [242, 4, 22], [292, 5, 22], [346, 5, 26],
];

// Arithmetic in the field of 256 elements.
const exp = new Uint8Array(255);
const log = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i++, x = (x << 1) ^ (x > 127 ? 0x11d : 0)) {
    exp[i] = x;
    log[x] = i;
}
const times = (a, b) => (a && b ? exp[(log[a] + log[b]) % 255] : 0);

/** The remainder that corrects errors of the data. */
function correction(data, length) {
    let divisor = [1];
    for (let i = 0; i < length; i++) {
        const next = [...divisor, 0];
        divisor.forEach((factor, at) => (next[at + 1] ^= times(factor, exp[i])));
        divisor = next;
    }
    const rest = new Uint8Array(length);
    for (const byte of data) {
        const factor = byte ^ rest[0];
        rest.copyWithin(0, 1);
        rest[length - 1] = 0;
        for (let i = 0; i < length; i++) rest[i] ^= times(divisor[i + 1], factor);
    }
    return rest;
}

/** The text as codewords of a version, those of all blocks interleaved. */
function codewords(bytes, version) {
    const [total, blocks, check] = VERSIONS[version - 1];
    const room = total - blocks * check;
    const bits = [];
    const put = (value, length) => {
        for (let i = length - 1; i >= 0; i--) bits.push((value >>> i) & 1);
    };
    put(4, 4);
    put(bytes.length, version < 10 ? 8 : 16);
    bytes.forEach((byte) => put(byte, 8));
    put(0, Math.min(4, room * 8 - bits.length));
    put(0, -bits.length & 7);
    for (let pad = 0xec; bits.length < room * 8; pad ^= 0xec ^ 0x11) put(pad, 8);
    const data = Array.from({ length: room }, (_, i) => bits.slice(i * 8, i * 8 + 8).reduce((all, bit) => all * 2 + bit));
    const short = Math.floor(room / blocks);
    const longs = room % blocks;
    const parts = [];
    for (let block = 0, at = 0; block < blocks; block++) {
        const length = short + (block >= blocks - longs ? 1 : 0);
        parts.push(data.slice(at, (at += length)));
    }
    const checks = parts.map((part) => correction(part, check));
    const all = [];
    for (let i = 0; i <= short; i++) for (const part of parts) if (i < part.length) all.push(part[i]);
    for (let i = 0; i < check; i++) for (const part of checks) all.push(part[i]);
    return all;
}

const MASKS = [
    (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3,
    (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2, (x, y) => ((x * y) % 2) + ((x * y) % 3),
    (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** What is the same in every code of a version; the rest is undefined. */
function frame(version) {
    const size = version * 4 + 17;
    const grid = Array.from({ length: size }, () => new Array(size).fill(undefined));
    const set = (x, y, dark) => {
        if (x >= 0 && y >= 0 && x < size && y < size) grid[y][x] = dark;
    };
    for (let i = 0; i < size; i++) (set(6, i, i % 2 === 0), set(i, 6, i % 2 === 0));
    for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
        for (let dy = -4; dy <= 4; dy++) {
            for (let dx = -4; dx <= 4; dx++) {
                const ring = Math.max(Math.abs(dx), Math.abs(dy));
                set(cx + dx, cy + dy, ring !== 2 && ring !== 4);
            }
        }
    }
    const last = size - 7;
    const middles = version === 1 ? [] : version < 7 ? [6, last] : [6, (6 + last) / 2, last];
    for (const cx of middles) {
        for (const cy of middles) {
            if ((cx === 6 && (cy === 6 || cy === last)) || (cx === last && cy === 6)) continue;
            for (let dy = -2; dy <= 2; dy++) {
                for (let dx = -2; dx <= 2; dx++) set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
            }
        }
    }
    if (version >= 7) {
        let rest = version;
        for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
        const bits = (version << 12) | rest;
        for (let i = 0; i < 18; i++) {
            const [a, b, dark] = [size - 11 + (i % 3), Math.floor(i / 3), ((bits >>> i) & 1) === 1];
            (set(a, b, dark), set(b, a, dark));
        }
    }
    format(set, size, 0);
    return { grid, set, size };
}

/** The level of correction, M, and the mask. */
function format(set, size, mask) {
    let rest = mask;
    for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
    const bits = ((mask << 10) | rest) ^ 0x5412;
    const bit = (i) => ((bits >>> i) & 1) === 1;
    for (let i = 0; i < 6; i++) (set(8, i, bit(i)), set(5 - i, 8, bit(i + 9)));
    (set(8, 7, bit(6)), set(8, 8, bit(7)), set(7, 8, bit(8)));
    for (let i = 0; i < 8; i++) set(size - 1 - i, 8, bit(i));
    for (let i = 8; i < 15; i++) set(8, size - 15 + i, bit(i));
    set(8, size - 8, true);
}

/** How hard a code is to read. */
function penalty(grid) {
    const size = grid.length;
    let points = 0;
    let dark = 0;
    const lines = [...grid, ...grid.map((_, x) => grid.map((row) => row[x]))];
    for (const line of lines) {
        const text = line.map(Number).join('');
        for (const run of text.match(/0{5,}|1{5,}/g) ?? []) points += run.length - 2;
        points += 40 * (text.match(/(?=10111010000|00001011101)/g) ?? []).length;
    }
    grid.forEach((row, y) =>
        row.forEach((cell, x) => {
            dark += cell;
            if (x && y && row[x - 1] === cell && grid[y - 1][x] === cell && grid[y - 1][x - 1] === cell) points += 3;
        }),
    );
    return points + 10 * Math.floor(Math.abs(dark * 20 - size * size * 10) / (size * size));
}

/** The cells of a text's code, rows of booleans; `undefined` if it is too long. */
export function qr(text) {
    const bytes = new TextEncoder().encode(text);
    const fits = ([total, blocks, check], i) => bytes.length + (i < 9 ? 2 : 3) <= total - blocks * check;
    const version = VERSIONS.findIndex(fits) + 1;
    if (!version) return undefined;
    const { grid, set, size } = frame(version);
    const free = grid.map((row) => row.map((cell) => cell === undefined));
    const words = codewords(bytes, version);
    let bit = 0;
    for (let right = size - 1; right > 0; right -= 2) {
        if (right === 6) right = 5;
        const up = ((right + 1) & 2) === 0;
        for (let i = 0; i < size; i++) {
            const y = up ? size - 1 - i : i;
            for (const x of [right, right - 1]) {
                if (!free[y][x]) continue;
                grid[y][x] = ((words[bit >>> 3] >>> (7 - (bit & 7))) & 1) === 1;
                bit++;
            }
        }
    }
    const flip = (mask) =>
        grid.forEach((row, y) => row.forEach((cell, x) => free[y][x] && (row[x] = cell !== (MASKS[mask](x, y) === 0))));
    let best;
    for (let mask = 0; mask < 8; mask++) {
        flip(mask);
        format(set, size, mask);
        const points = penalty(grid);
        if (!best || points < best.points) best = { mask, points };
        flip(mask);
    }
    flip(best.mask);
    format(set, size, best.mask);
    return grid;
}

/** The code as an image that people with a camera can read. */
export function drawn(text, label) {
    const grid = qr(text);
    if (!grid) return undefined;
    const make = (name, attributes) => {
        const element = document.createElementNS('http://www.w3.org/2000/svg', name);
        for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
        return element;
    };
    const size = grid.length + 8;
    const svg = make('svg', { viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': label, 'shape-rendering': 'crispEdges' });
    const dark = grid.flatMap((row, y) => row.map((cell, x) => (cell ? `M${x + 4} ${y + 4}h1v1h-1z` : '')));
    svg.append(make('rect', { width: size, height: size, fill: '#fff' }), make('path', { d: dark.join(''), fill: '#111' }));
    return svg;
}
