// In Node the module is a file, which `fetch` does not read. It is beside this one, once all is bundled.
import { readFile } from 'node:fs/promises';

import { setSource } from '../load.js';

setSource(() => readFile(new URL('everlink_bg.wasm', import.meta.url)));

export * from './index.js';
