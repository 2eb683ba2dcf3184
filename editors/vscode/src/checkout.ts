import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, mkdir, open, readFile, rename, rmdir, stat as statOf, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { UserError, codeOf, wording } from './errors.js';
import { OWN, badPath, folded } from './paths.js';
import type { TreeEntry } from './sync.js';

/** Remembers, in the work folder, what was written there: whatever differs from it is the user's own. `everlink tutorial` keeps the same. */
export const RECORD = `${OWN}/checkout.json`;
/** No record is larger. */
const MAX_RECORD = 64 << 20;
/** The most files of a step. */
export const MAX_FILES = 20_000;
/** The largest file, and all of them together, in bytes. */
export const MAX_FILE = 1 << 20;
export const MAX_TOTAL = 256 << 20;

/** What a check-out would do, before it does it. */
export interface Plan {
    readonly folder: string;
    /** Files to write. */
    readonly write: readonly Write[];
    /** Files of an earlier step to remove, which nobody changed. */
    readonly remove: readonly { readonly path: string; readonly found: string }[];
    /** Files that the user changed: kept, unless told to replace them. */
    readonly changed: readonly Write[];
    /** Files that are not written, and why. */
    readonly skipped: readonly { readonly path: string; readonly why: string }[];
    /** How many are as they should be. */
    readonly same: number;
    /** What is recorded of files that stay. */
    readonly record: Files;
}

/** By path: the hashes of what was written (two, if a check-out did not come to its end), and by which hash the host knows it. */
type Files = Readonly<Record<string, { readonly content: readonly string[]; readonly hash: string }>>;

export interface Write {
    readonly path: string;
    readonly bytes: Uint8Array;
    readonly executable: boolean;
    /** By which hash the host knows it. */
    readonly hash: string;
    /** What was there when it was planned. */
    readonly found: string | undefined;
}

/**
 * Looks at a work folder and at the files of a step, and says what is to be done. Writes nothing.
 * @throws {UserError} `too-many`, `too-large`, `no-folder`, or what `read` throws
 */
export async function plan(
    folder: string,
    tree: readonly TreeEntry[],
    read: (path: string) => Promise<Uint8Array>,
    unsaved: ReadonlySet<string> = new Set(),
): Promise<Plan> {
    const root = await kind(folder, true);
    if (root !== undefined && root !== 'directory') throw new UserError('no-folder', `“${folder}” is no folder.`);
    const record = root ? await readRecord(folder) : {};
    const skipped: { path: string; why: string }[] = [];
    const files = judge(tree, skipped);

    const write: Write[] = [];
    const changed: Write[] = [];
    const kept: Record<string, Files[string]> = {};
    const remove: { path: string; found: string }[] = [];
    let same = 0;

    const wanted = new Set(tree.map(({ path }) => path));
    for (const [path, known] of Object.entries(record)) {
        if (wanted.has(path)) {
            kept[path] = known;
            continue;
        }
        // The record lies where anybody can change it.
        if (badPath(path) || (await inTheWay(folder, path))) continue;
        const found = await hashOf(join(folder, path));
        if (found !== undefined && known.content.includes(found) && !unsaved.has(path)) remove.push({ path, found });
    }
    const going = new Set(remove.map(({ path }) => path));

    for (const { path, executable = false, hash } of files) {
        const obstacle = await inTheWay(folder, path);
        // A file that goes makes room for a folder of its name.
        if (obstacle && !(obstacle.kind === 'file' && going.has(obstacle.path))) {
            skipped.push({ path, why: obstacle.why });
            continue;
        }
        const target = join(folder, path);
        const there = obstacle ? undefined : await kind(target);
        if (there !== undefined && there !== 'file') {
            skipped.push({ path, why: there === 'directory' ? 'a folder is in the way' : there === 'link' ? 'a link is in the way' : 'something that is no file is in the way' });
            continue;
        }
        const found = there && (await hashOf(target));
        const known = record[path];
        if (known?.hash === hash && found !== undefined && known.content.length === 1 && known.content[0] === found && !unsaved.has(path)) {
            same++;
            continue;
        }
        let bytes: Uint8Array;
        try {
            bytes = await read(path);
        } catch (thrown) {
            if (ending.has(codeOf(thrown) ?? '')) throw thrown;
            // The others may be had.
            skipped.push({ path, why: wording(thrown) });
            continue;
        }
        const content = digest(bytes);
        const one: Write = { path, bytes, executable, hash, found };
        if (found === content && !unsaved.has(path)) {
            same++;
            kept[path] = { content: [content], hash };
        } else if (found !== undefined && (unsaved.has(path) || !known?.content.includes(found))) {
            changed.push(one);
        } else {
            write.push(one);
        }
    }
    return { folder, write, remove, changed, skipped, same, record: kept };
}

/**
 * Does what was planned, and with `replace` replaces what the user changed, too. A file that changed since it was planned is
 * left alone.
 */
export async function carryOut(plan: Plan, replace: boolean): Promise<{ written: number; removed: number; late: string[] }> {
    const { folder } = plan;
    await mkdir(folder, { recursive: true });
    const files: Record<string, Files[string]> = { ...plan.record };
    const writes = [...plan.write, ...(replace ? plan.changed : [])];
    // Known as ours before it is there: stopped in the middle, the next check-out knows both.
    const before = { ...files };
    for (const { path, found } of plan.remove) before[path] = { content: [found], hash: '' };
    for (const { path, bytes, hash } of writes) {
        before[path] = { content: [...new Set([...(files[path]?.content ?? []), digest(bytes)])], hash };
    }
    await writeRecord(folder, before);

    const late: string[] = [];
    let removed = 0;
    let written = 0;
    for (const { path, found } of plan.remove) {
        if ((await inTheWay(folder, path)) || (await hashOf(join(folder, path))) !== found) continue;
        await unlink(join(folder, path)).then(() => removed++, ignoreAbsent);
        await removeEmpty(folder, dirname(path));
    }
    for (const one of writes) {
        if ((await inTheWay(folder, one.path)) || (await kind(join(folder, one.path))) === 'link' || (await hashOf(join(folder, one.path))) !== one.found) {
            late.push(one.path);
            continue;
        }
        await put(folder, one);
        files[one.path] = { content: [digest(one.bytes)], hash: one.hash };
        written++;
    }
    await writeRecord(folder, files);
    return { written, removed, late };
}

/** Errors after which no further file can be had. */
const ending = new Set(['closed', 'unavailable', 'left', 'not-in']);

/** Leaves out what no honest host has: names that lead elsewhere, two that are one where case does not count, more than fits. */
function judge(tree: readonly TreeEntry[], skipped: { path: string; why: string }[]): readonly TreeEntry[] {
    if (tree.length > MAX_FILES) {
        throw new UserError('too-many', `The step has ${tree.length} files: at most ${MAX_FILES} are checked out.`);
    }
    const files = new Set<string>();
    const folders = new Set<string>();
    let total = 0;
    const good = tree.filter(({ path, size }) => {
        const bad = badPath(path);
        const plain = folded(path);
        const above = [...plain.matchAll(/\//g)].map(({ index }) => plain.slice(0, index));
        const why = bad
            ? `it ${bad}`
            : size > MAX_FILE
              ? 'it is larger than 1 MiB'
              : files.has(plain) || folders.has(plain) || above.some((folder) => files.has(folder))
                ? 'another file has this name where case does not count'
                : undefined;
        if (why) {
            skipped.push({ path, why });
            return false;
        }
        files.add(plain);
        for (const folder of above) folders.add(folder);
        total += size;
        return true;
    });
    if (total > MAX_TOTAL) throw new UserError('too-large', 'The files of the step are larger than 256 MiB together.');
    return good;
}

/** What is between the folder and a file, and is no plain folder. */
async function inTheWay(folder: string, path: string): Promise<{ path: string; kind: Kind; why: string } | undefined> {
    const parts = path.split('/').slice(0, -1);
    for (let count = 1; count <= parts.length; count++) {
        const part = parts.slice(0, count).join('/');
        const found = await kind(join(folder, part));
        if (found === undefined) return undefined;
        if (found === 'directory') continue;
        const what = found === 'link' ? 'a symbolic link' : found === 'file' ? 'a file' : 'no folder';
        return { path: part, kind: found, why: `“${part}” is ${what}` };
    }
    return undefined;
}

type Kind = 'file' | 'directory' | 'link' | 'other';

async function kind(path: string, through = false): Promise<Kind | undefined> {
    const stat = await (through ? statOf : lstat)(path).catch(ignoreAbsent);
    if (!stat) return undefined;
    if (stat.isSymbolicLink()) return 'link';
    return stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : 'other';
}

/** Writes beside it, and puts it in its place at once: never half a file, and never through a link. */
async function put(folder: string, { path, bytes, executable }: Pick<Write, 'path' | 'bytes' | 'executable'>): Promise<void> {
    const target = join(folder, path);
    await mkdir(dirname(target), { recursive: true });
    const beside = join(dirname(target), `.everlink-${randomUUID()}`);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
    try {
        const file = await open(beside, flags, executable ? 0o777 : 0o666);
        try {
            await file.writeFile(bytes);
        } finally {
            await file.close();
        }
        await rename(beside, target);
    } catch (thrown) {
        await unlink(beside).catch(() => {});
        throw thrown;
    }
}

/** Removes folders that became empty, up to the work folder. */
async function removeEmpty(folder: string, path: string): Promise<void> {
    for (let at = path; at !== '.' && at !== ''; at = dirname(at)) {
        try {
            await rmdir(join(folder, at));
        } catch {
            return;
        }
    }
}

/** @throws {UserError} `bad-record` if it cannot be read: what is the user's own is not known then. */
async function readRecord(folder: string): Promise<Files> {
    const path = join(folder, RECORD);
    if ((await inTheWay(folder, RECORD)) || ((await kind(path)) ?? 'file') !== 'file') throw damaged(path);
    const there = await lstat(path).catch(ignoreAbsent);
    if (!there) return {};
    if (there.size > MAX_RECORD) throw damaged(path);
    try {
        const { version, files } = JSON.parse(await readFile(path, 'utf8')) as { version: unknown; files: Files };
        if (version !== 1) throw damaged(path);
        for (const { content, hash } of Object.values(files)) {
            if (!Array.isArray(content) || typeof hash !== 'string') throw damaged(path);
        }
        return files;
    } catch {
        throw damaged(path);
    }
}

function damaged(path: string): UserError {
    const message = `“${path}” cannot be read. Remove it, and you will be asked before files that are there are replaced.`;
    return new UserError('bad-record', message);
}

async function writeRecord(folder: string, files: Files): Promise<void> {
    const sorted = Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)));
    const bytes = Buffer.from(`${JSON.stringify({ version: 1, files: sorted }, null, 2)}\n`);
    await put(folder, { path: RECORD, bytes, executable: false });
}

async function hashOf(path: string): Promise<string | undefined> {
    const stat = await lstat(path).catch(ignoreAbsent);
    if (!stat?.isFile()) return undefined;
    // No file of a step is that large, so that it differs is known without reading it.
    if (stat.size > MAX_FILE) return `${stat.size} bytes of ${stat.mtimeMs}`;
    return digest(await readFile(path));
}

function digest(bytes: Uint8Array): string {
    return createHash('sha256').update(bytes).digest('hex');
}

function ignoreAbsent(thrown: unknown): undefined {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw thrown;
}
