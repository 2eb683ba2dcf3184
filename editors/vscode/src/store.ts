import { UserError, codeOf } from './errors.js';
import { unapply } from './diff.js';
import { badPath } from './paths.js';
import type { Content, FileChange, StepPage, TreeEntry } from './sync.js';

/** The most bytes of files that are kept. */
const KEPT = 32 << 20;
/** The most pages, trees or files that are kept. */
const ENTRIES = 1024;
/** The largest file that is taken: what the protocol allows. */
const LARGEST = 1 << 20;

/** What was read of a room, kept: the same step is asked for once. Files and pages of a commit never change. */
export class ContentStore {
    #content: () => Promise<Content>;
    #pages = new Map<string, Promise<StepPage>>();
    #trees = new Map<string, Promise<readonly TreeEntry[]>>();
    #files = new Map<string, Promise<Uint8Array>>();
    #bytes = 0;

    constructor(content: () => Promise<Content>) {
        this.#content = content;
    }

    page(index: number, solution: boolean): Promise<StepPage> {
        return once(this.#pages, `${index}/${solution}`, async () => {
            const page = await (await this.#content()).step(index, solution);
            // Whatever cannot be a file's name is not shown, opened or asked for.
            const files = page.files.filter((file) => !badPath(file.path) && !(file.oldPath && badPath(file.oldPath)));
            return { ...page, files };
        });
    }

    tree(index: number): Promise<readonly TreeEntry[]> {
        return once(this.#trees, String(index), async () => (await this.#content()).tree(index));
    }

    /**
     * The content of a file at a step.
     * @throws {UserError} `bad-path`, `too-large`, or what the host says
     */
    file(index: number, path: string): Promise<Uint8Array> {
        const bad = badPath(path);
        if (bad) return Promise.reject(new UserError('bad-path', `The host named a file “${path.slice(0, 80)}”: ${bad}.`));
        return once(this.#files, `${index}/${path}`, async () => {
            const file = await (await this.#content()).file(index, path);
            const bytes = Buffer.from(file.text ?? file.base64 ?? '', typeof file.text === 'string' ? 'utf8' : 'base64');
            if (bytes.length > LARGEST) throw new UserError('too-large', `“${path}” is larger than 1 MiB.`);
            this.#bytes += bytes.length;
            if (this.#bytes > KEPT) {
                this.#files.clear();
                this.#bytes = bytes.length;
            }
            return bytes;
        });
    }

    /** What a file was before a step changed it; empty if it was not there. */
    async before(page: StepPage, change: FileChange): Promise<Uint8Array> {
        if (change.status === 'added') return new Uint8Array();
        const old = change.oldPath || change.path;
        if (!change.binary && typeof change.diff === 'string') {
            const after = change.status === 'deleted' ? '' : Buffer.from(await this.file(page.index, change.path)).toString('utf8');
            const before = unapply(after, change.diff);
            if (before !== undefined) return Buffer.from(before);
        } else if (!change.binary && !change.tooLarge && change.status === 'renamed') {
            // Moved and not changed.
            return this.file(page.index, change.path);
        }
        // Commits between two steps are steps of nobody: then this is the nearest that can be had.
        if (page.index === 0) return new Uint8Array();
        try {
            return await this.file(page.index - 1, old);
        } catch (thrown) {
            if (codeOf(thrown) === 'not-found') return new Uint8Array();
            throw thrown;
        }
    }

    /** Forgets everything: another room has other steps. */
    clear(): void {
        this.#pages.clear();
        this.#trees.clear();
        this.#files.clear();
        this.#bytes = 0;
    }
}

/** What is there or on its way under this key, or else what `get` gives; a failure is not kept. */
function once<T>(kept: Map<string, Promise<T>>, key: string, get: () => Promise<T>): Promise<T> {
    const there = kept.get(key);
    if (there) return there;
    if (kept.size >= ENTRIES) kept.delete(kept.keys().next().value!);
    const got = get();
    kept.set(key, got);
    got.catch(() => kept.get(key) === got && kept.delete(key));
    return got;
}
