// IndexedDB and Web Locks, as far as they are needed: databases with one kind of record, an identity kept in one, and names
// that one page at a time can hold. JavaScript, as it is five times as dense as what Rust makes of the same callbacks.
//
// What fails rejects with an error whose name says why. `Absent`, `Blocked` and `Newer` are names of ours.

const failure = (name, message) => Object.assign(new Error(message), { name });

/** How long another page may take to let go of a database of an older format, in milliseconds. */
const UPGRADE_WITHIN = 4000;

/**
 * Opens a database with the one object store `store`, which is made if need be. It is closed when a page with a later
 * release wants it.
 */
export function open(name, version, store) {
    return new Promise((resolve, reject) => {
        if (!globalThis.indexedDB) throw failure('Absent');
        const request = indexedDB.open(name, version);
        let late = false;
        const blocked = () => {
            late = true;
            reject(failure('Blocked'));
        };
        const timer = setTimeout(blocked, UPGRADE_WITHIN);
        request.onblocked = blocked;
        // The only format so far; what comes here has none. Its failure aborts the opening.
        request.onupgradeneeded = () => request.result.createObjectStore(store);
        request.onerror = () => {
            clearTimeout(timer);
            const { error } = request;
            if (error.name === 'VersionError') versionOf(name).then((found) => reject(failure('Newer', found)));
            // All that some browsers say of a full disk at this place.
            else if (error.name === 'UnknownError') reject(failure(error.name, `${error.message}; the disk may be full`));
            else reject(denied(error));
        };
        request.onsuccess = () => {
            clearTimeout(timer);
            const database = request.result;
            if (late) database.close();
            database.onversionchange = database.onclose = () => database.close();
            resolve(database);
        };
    }).catch((error) => Promise.reject(denied(error)));
}

/** What a browser says that lets a site keep nothing: in private windows of some, or by a setting. */
function denied(error) {
    return error.name === 'InvalidStateError' ? failure('NotAllowedError', error.message) : error;
}

/** The format of a database that is newer than this release, or 0. */
function versionOf(name) {
    return new Promise((resolve) => {
        const request = indexedDB.open(name);
        request.onblocked = request.onerror = () => resolve(0);
        request.onsuccess = () => {
            resolve(request.result.version);
            request.result.close();
        };
    });
}

export const close = (database) => database.close();

/** How long a transaction may take, in milliseconds: when the disk gets full Chromium may never say what became of one. */
const ANSWERS_WITHIN = 10_000;

/**
 * One transaction, which is given its requests at once by `ask`. Resolves with what the function that `ask` returned finds
 * when all of it is done; otherwise nothing is.
 */
function transact(database, write, ask) {
    return new Promise((resolve, reject) => {
        const [store] = [...database.objectStoreNames];
        // What is told to be stored shall survive a loss of power.
        const transaction = database.transaction(store, write ? 'readwrite' : 'readonly', { durability: 'strict' });
        let found;
        // As if it were closed, so that it is opened anew and all of it written again: that the first was done after all
        // does no harm then.
        const timer = setTimeout(() => reject(failure('InvalidStateError', 'the browser does not answer; the disk may be full')), ANSWERS_WITHIN);
        transaction.oncomplete = () => {
            clearTimeout(timer);
            resolve(found?.());
        };
        transaction.onabort = () => {
            clearTimeout(timer);
            reject(transaction.error ?? failure('InvalidStateError', 'the browser gave a transaction up'));
        };
        try {
            found = ask(transaction.objectStore(store));
        } catch (error) {
            reject(error);
            transaction.abort();
        }
    });
}

/** All records, flat: a key, its value, the next key. Undefined if one is not of bytes. */
export function readAll(database) {
    return transact(database, false, (records) => {
        const [keys, values] = [records.getAllKeys(), records.getAll()];
        return () => {
            const isOurs = (key, at) => key instanceof ArrayBuffer && values.result[at] instanceof Uint8Array;
            if (!keys.result.every(isOurs)) return undefined;
            return keys.result.flatMap((key, at) => [new Uint8Array(key), values.result[at]]);
        };
    });
}

// Changes are gathered in an array and written as one. The bytes are the module's memory, so they are copied.
export const clear = (changes) => changes.push((records) => records.clear());

export function put(changes, key, value) {
    [key, value] = [key.slice(), value.slice()];
    changes.push((records) => records.put(value, key));
}

/** Keys from `from` up to but not including `to`. */
export function remove(changes, from, to) {
    [from, to] = [from.slice(), to.slice()];
    changes.push((records) => records.delete(IDBKeyRange.bound(from, to, false, true)));
}

export function write(database, changes) {
    return transact(database, true, (records) => {
        for (const change of changes) change(records);
    });
}

/**
 * The seed that is kept under a name, which is made if it is not there; undefined if it cannot be read. Whoever gets it
 * wipes it.
 */
export async function loadSeed(path, name) {
    const database = await open(path, 1, 'identities');
    const read = () => transact(database, false, (records) => {
        const request = records.get(name);
        return () => request.result;
    });
    try {
        let record = await read();
        if (!record) {
            const sealed = await seal();
            // Of two pages that come here at once, the first one's is kept: `add` changes nothing that is there, and what is
            // there then counts.
            const failed = await transact(database, true, (records) => void records.add(sealed, name)).catch((error) => error);
            record = await read();
            if (!record) throw failed;
        }
        return await unseal(record);
    } finally {
        database.close();
    }
}

/** Absent in a page over plain `http:`, but for those of this machine. */
const subtle = () => globalThis.crypto.subtle;

const cipher = (iv) => ({ name: 'AES-GCM', iv });

/** A new seed as it is kept. */
async function seal() {
    const seed = crypto.getRandomValues(new Uint8Array(32));
    try {
        if (!subtle()) return { seed: seed.slice() };
        const key = await subtle().generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
        const iv = crypto.getRandomValues(new Uint8Array(12));
        return { key, iv, sealed: await subtle().encrypt(cipher(iv), key, seed) };
    } finally {
        seed.fill(0);
    }
}

/** The seed of what is kept, unless that is damaged. */
async function unseal({ seed, key, iv, sealed }) {
    try {
        return new Uint8Array(seed ?? (await subtle().decrypt(cipher(iv), key, sealed)));
    } catch {
        return undefined;
    }
}

/** Where there are no locks of the browser, names are held within this page only. */
const held = new Set();

/** A name that one page at a time can hold, across all pages of a site. */
export class Hold {
    #name;
    #release;

    /** Whether it was taken resolves within `patience` milliseconds. */
    take(name, patience) {
        if (held.has(name)) return Promise.resolve(false);
        held.add((this.#name = name));
        const locks = globalThis.navigator?.locks;
        if (!locks) return Promise.resolve(true);
        const abort = new AbortController();
        const timer = setTimeout(() => abort.abort(), patience);
        return new Promise((taken) => {
            this.#release = () => abort.abort();
            locks
                .request(name, { signal: abort.signal }, () => {
                    clearTimeout(timer);
                    taken(true);
                    return new Promise((release) => (this.#release = release));
                })
                .catch(() => taken(false));
        });
    }

    release() {
        held.delete(this.#name);
        this.#release?.();
    }
}
