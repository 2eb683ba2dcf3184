import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type * as vscode from 'vscode';

import type { Remembered } from './session.js';

/** Everything that is kept. */
interface Kept {
    /** The room that the window is in. */
    session?: Remembered;
    /** The folder that was chosen for files. */
    workFolder?: string;
    /** The name of the key in the secret storage. */
    key?: string;
}

/**
 * What survives a reload of the window: which room it was in and as what, and the key by which the room knows it again. Each
 * workspace has its own, so that two windows are two members.
 *
 * It is a file of the workspace's storage, written at once: a browser that is reloaded loses what VS Code's own state got in the last
 * seconds. A window without a folder has no such storage, and uses that state.
 */
export class Memory {
    #context: vscode.ExtensionContext;
    #log: (line: string) => void;
    #folder: string | undefined;
    #kept: Kept;
    #secret: Promise<Uint8Array> | undefined;

    constructor(context: vscode.ExtensionContext, log: (line: string) => void) {
        this.#context = context;
        this.#log = log;
        this.#folder = context.storageUri?.scheme === 'file' ? context.storageUri.fsPath : undefined;
        this.#kept = this.#read();
    }

    get session(): Remembered | undefined {
        return this.#kept.session;
    }

    remember(session: Remembered | undefined): void {
        if (JSON.stringify(session) === JSON.stringify(this.#kept.session)) return;
        const { session: _, ...rest } = this.#kept;
        this.#write(session ? { ...rest, session } : rest);
    }

    get workFolder(): string | undefined {
        return this.#kept.workFolder;
    }

    setWorkFolder(workFolder: string): void {
        this.#write({ ...this.#kept, workFolder });
    }

    /** The secret key of this workspace's member, made when it is first asked for. */
    secret(): Promise<Uint8Array> {
        return (this.#secret ??= this.#load());
    }

    async #load(): Promise<Uint8Array> {
        try {
            const kept = this.#kept.key && (await this.#context.secrets.get(this.#kept.key));
            if (kept && /^[0-9a-f]{64}$/.test(kept)) return Buffer.from(kept, 'hex');
            const key = this.#kept.key ?? `identity-${randomBytes(8).toString('hex')}`;
            const made = randomBytes(32);
            await this.#context.secrets.store(key, made.toString('hex'));
            this.#write({ ...this.#kept, key });
            return made;
        } catch (thrown) {
            this.#log(`no secret can be kept here, so that a reload is a new member: ${String(thrown)}`);
            return randomBytes(32);
        }
    }

    #read(): Kept {
        if (this.#folder === undefined) return this.#context.workspaceState.get<Kept>('kept') ?? {};
        try {
            const { session, workFolder, key } = JSON.parse(readFileSync(join(this.#folder, 'kept.json'), 'utf8')) as Partial<Kept>;
            const room = session?.room;
            return {
                ...(typeof room?.server === 'string' && typeof room.uuid === 'string' && { session: session! }),
                ...(typeof workFolder === 'string' && { workFolder }),
                ...(typeof key === 'string' && { key }),
            };
        } catch {
            return {};
        }
    }

    #write(kept: Kept): void {
        this.#kept = kept;
        if (this.#folder === undefined) {
            void this.#context.workspaceState.update('kept', kept);
            return;
        }
        try {
            mkdirSync(this.#folder, { recursive: true });
            writeFileSync(join(this.#folder, 'kept.json.new'), JSON.stringify(kept));
            renameSync(join(this.#folder, 'kept.json.new'), join(this.#folder, 'kept.json'));
        } catch (thrown) {
            this.#log(`a reload will not find the tutorial again: ${String(thrown)}`);
        }
    }
}
