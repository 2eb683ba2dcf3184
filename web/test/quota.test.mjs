// A disk that is too small, for real: the browser's profile is on a file system of some megabytes, and the page fills it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { check, directory, host, launchIn, open, pages, ready, scoped, signaling } from './harness.mjs';

const settings = { timeout: 120_000 };

/** Chromium on a disk of its own, of which a site may have about half. */
async function small(scope) {
    const disk = directory(scope);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'everlink-test', disk]);
    // Lazily: the browser that ends before it may still hold a file.
    scope.add(() => execFileSync('umount', ['--lazy', disk]));
    return { disk, context: await launchIn(scope, disk) };
}
