// In Node the module is a file, which `fetch` does not read.
import { readFile } from 'node:fs/promises';

import { setSource } from './load.js';

setSource((file) => readFile(new URL(file, import.meta.url)));

export * from './index.js';
