import { loadFirst, loadPart, type InitInput, type ModuleInput } from './glue.js';
import { LoadError } from './errors.js';

/** Where a file of the package is: an URL, a response, bytes or a compiled module. */
export type ModuleSource = InitInput | Promise<InitInput>;

/** What is loaded only when it is needed: `host` by `exposeService` and what else concerns names, `store` by the option `store`. */
export interface Parts {
    host?: ModuleSource;
    store?: ModuleSource;
}

const FIRST = 'everlink_bg.wasm';

let source: ((file: string) => ModuleSource) | undefined;
let given: Parts = {};
let loading: Promise<unknown> | undefined;
const loaded = new Map<keyof Parts, Promise<void>>();

/**
 * Loads the WebAssembly module. Everything that needs it calls this by itself; call it to load it early, or where a bundler
 * puts the files elsewhere: with where the module is, and where its parts are.
 * @throws {@link LoadError}
 */
export async function load(wasm?: ModuleSource, parts?: Parts): Promise<void> {
    given = { ...given, ...parts };
    loading ??= (async () => {
        await loadFirst(await fetched(wasm ?? source?.(FIRST) ?? beside(FIRST)));
    })().catch((cause: unknown) => {
        // A network that failed may work the next time.
        loading = undefined;
        throw failed(FIRST, cause);
    });
    await loading;
}

/** @internal Loads the module with a part. */
export async function loadWith(part: keyof Parts): Promise<void> {
    if (!loaded.has(part)) {
        const file = `everlink_${part}.wasm`;
        // Fetched at once, though it can only be used when the module is there.
        const from = fetched(given[part] ?? source?.(file) ?? beside(file));
        const all = Promise.all([from.catch((cause: unknown) => Promise.reject(failed(file, cause))), load()]);
        const joined = all.then(([from]) => loadPart(part, from).catch((cause: unknown) => Promise.reject(failed(file, cause))));
        loaded.set(part, joined);
        joined.catch(() => loaded.delete(part));
    }
    await loaded.get(part);
}

function failed(file: string, cause: unknown): LoadError {
    // What a part asks for is named by what it was made for.
    const other = cause instanceof WebAssembly.LinkError || (cause instanceof TypeError && /import/i.test(cause.message));
    const error = other
        ? new LoadError({ code: 'other-build', message: `${file} is of another build than what is loaded already: reload the page, and if that does not help, put all files of one build in their place` })
        : new LoadError({ code: 'not-loaded', message: `${file} could not be loaded: ${cause instanceof Error ? cause.message : String(cause)}` });
    return Object.assign(error, { cause });
}

/** Where bundlers look for files that are mentioned. */
function beside(file: string): URL {
    if (file === FIRST) return new URL('everlink_bg.wasm', import.meta.url);
    if (file === 'everlink_host.wasm') return new URL('everlink_host.wasm', import.meta.url);
    return new URL('everlink_store.wasm', import.meta.url);
}

async function fetched(from: ModuleSource): Promise<ModuleInput> {
    const what = await from;
    return typeof what === 'string' || what instanceof URL || what instanceof Request ? fetch(what) : what;
}

/** Says where the files are, where they are not beside the glue. */
export function setSource(from: (file: string) => ModuleSource): void {
    source = from;
}
