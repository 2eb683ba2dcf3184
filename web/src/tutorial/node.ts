// In Node the module is a file, which `fetch` does not read. It is beside this one, once all is bundled.
import { readFile } from 'node:fs/promises';

import { setSource } from '../load.js';

setSource((file) => readFile(new URL(file, import.meta.url)));

export * from './index.js';
