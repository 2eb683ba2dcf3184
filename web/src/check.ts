import { ArgumentError } from './errors.js';

/** What makes a number of an option, for the module, or throws. */
type Check = (value: unknown, key: string) => number;

/** A century: longer is a mistake, and no clock of the module can add it up. */
const MOST_MILLIS = 100 * 366 * 86_400_000;

function bad(key: string, wanted: string): never {
    throw new ArgumentError({ code: 'bad-option', message: `the option \`${key}\` must be ${wanted}` });
}

const number = (least: number, most: number): Check => (value, key) => {
    if (typeof value === 'number' && value >= least && value <= most) return value;
    return bad(key, `a number from ${least} to ${most}`);
};
const count = number(0, 0xffff_ffff);
const time = number(0, MOST_MILLIS);
const flag: Check = (value, key) => (typeof value === 'boolean' ? Number(value) : bad(key, 'true or false'));
/** Its place among a few words. */
const word = (...words: string[]): Check => (value, key) => {
    texts({ [key]: value }, key);
    const place = words.indexOf(value as string);
    return place < 0 ? bad(key, words.join(' or ')) : place;
};
const endless = (check: Check): Check => (value, key) => (value === null ? Infinity : check(value, key));

type Options = Readonly<Record<string, unknown>>;

/** One number for each of the options, NaN for those that were not given: these keep the module's defaults. */
function numbers(options: unknown, checks: Record<string, Check>): number[] {
    return Object.entries(checks).map(([key, check]) => {
        const value = (options as Options | null | undefined)?.[key];
        return value === undefined ? NaN : check(value, key);
    });
}

/** Makes sure that these options are strings, if they were given. */
function texts(options: object, ...keys: string[]): void {
    for (const key of keys) {
        const value = (options as Options)[key];
        if (value !== undefined && typeof value !== 'string') bad(key, 'a string');
    }
}

function queue(value: unknown): number[] {
    if (typeof value === 'string' && value !== 'lossless') bad('queue', "'lossless' or an object");
    const kind = value === undefined ? NaN : Number(value !== 'lossless');
    return [kind, ...numbers(value, { maxMessages: count, maxBytes: count, maxAge: endless(time), whenFull: word('wait', 'drop-oldest', 'reject') })];
}

// In each of these the order is that in which `bindings/src/options.rs` reads them.

export function connection(options: object): Float64Array {
    const { backoff, liveness, queue: kept } = options as Options;
    texts(options, 'expectPeer', 'token');
    return Float64Array.of(
        ...numbers(options, {
            connectTimeout: time, parkFor: time, closeTimeout: time, maxMessage: count, maxChannels: count,
            onSessionLost: word('fail', 'start-fresh'), onStoreFailure: word('stop', 'go-on-in-memory'),
        }),
        ...numbers(backoff, { base: time, max: time, jitter: number(0, 1), maxAttempts: endless(number(1, 0xffff_ffff)) }),
        ...numbers(liveness, { idleProbe: time, busyProbe: time, suspectAfter: time }),
        ...queue(kept),
    );
}

export function channel(options: object): Float64Array {
    const { lossy, queue: kept } = options as Options;
    return Float64Array.of(
        lossy === undefined ? NaN : 1,
        ...numbers(lossy, { ordered: flag, maxRetransmits: number(0, 65_535) }),
        ...queue(kept),
        ...numbers(options, { priority: word('control', 'normal', 'bulk') }),
    );
}

export function service(options: object): Float64Array {
    const { user, service } = options as Options;
    texts(options, 'user', 'service');
    if (user === undefined || service === undefined) {
        throw new ArgumentError({ code: 'bad-option', message: 'a service needs `user` and `service`' });
    }
    const own = numbers(options, { public: flag, ttl: time, refreshMargin: number(0, 1), poolSize: number(1, 64) });
    return Float64Array.of(...own, ...connection(options));
}

export function target(options: object): void {
    const { uuid, user, service } = options as Options;
    texts(options, 'uuid', 'user', 'service');
    if (uuid === undefined && (user === undefined || service === undefined)) {
        throw new ArgumentError({ code: 'bad-option', message: 'a target is { uuid } or { user, service }' });
    }
}

/** For each message, so at no expense where nothing is asked for. */
export function message({ deadline, supersede }: { deadline?: unknown; supersede?: unknown }): number {
    if (supersede !== undefined) texts({ supersede }, 'supersede');
    return deadline === undefined ? NaN : time(deadline, 'deadline');
}

/** For each address of a server that, a name and a password. */
export function ice(servers: RTCIceServer[]): string[] {
    return Array.from(servers).flatMap((server) => {
        texts(server, 'username', 'credential');
        const { urls, username = '', credential = '' } = server;
        return [urls].flat().flatMap((url) => (typeof url === 'string' ? [url, username, credential as string] : []));
    });
}
