import init, { type InitInput } from './glue.js';

let source: (() => InitInput | Promise<InitInput>) | undefined;
let loading: Promise<unknown> | undefined;

/**
 * Loads the WebAssembly module. Everything that needs it calls this by itself; call it to load it early, or
 * with another `wasm` (an URL, a response, bytes or a compiled module) where a bundler puts the file elsewhere.
 */
export async function load(wasm?: InitInput | Promise<InitInput>): Promise<void> {
    loading ??= (async () => {
        const from = wasm ?? source?.();
        await (from === undefined ? init() : init({ module_or_path: await from }));
    })().catch((error: unknown) => {
        // A network that failed may work the next time.
        loading = undefined;
        throw error;
    });
    await loading;
}

/** Says where the module is, where it is not beside the glue. */
export function setSource(from: () => InitInput | Promise<InitInput>): void {
    source = from;
}
