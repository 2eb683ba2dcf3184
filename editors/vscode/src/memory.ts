import { randomBytes } from 'node:crypto';

import type * as vscode from 'vscode';

import type { Remembered } from './session.js';

const SESSION = 'session';
const FOLDER = 'workFolder';
const KEY = 'key';

/**
 * What survives a reload of the window: which room it was in and as what, and the key by which the room knows it again. Each
 * workspace has its own, so that two windows are two members.
 */
export class Memory {
    #context: vscode.ExtensionContext;
    #log: (line: string) => void;
    #last = '';
    #secret: Promise<Uint8Array> | undefined;

    constructor(context: vscode.ExtensionContext, log: (line: string) => void) {
        this.#context = context;
        this.#log = log;
    }

    get session(): Remembered | undefined {
        return this.#context.workspaceState.get<Remembered>(SESSION);
    }

    remember(what: Remembered | undefined): void {
        const text = JSON.stringify(what) ?? '';
        if (text === this.#last) return;
        this.#last = text;
        void this.#context.workspaceState.update(SESSION, what);
    }

    /** The folder that was chosen for this workspace. */
    get workFolder(): string | undefined {
        return this.#context.workspaceState.get<string>(FOLDER);
    }

    async setWorkFolder(folder: string): Promise<void> {
        await this.#context.workspaceState.update(FOLDER, folder);
    }

    /** The secret key of this workspace's member, made when it is first asked for. */
    secret(): Promise<Uint8Array> {
        return (this.#secret ??= this.#load());
    }

    async #load(): Promise<Uint8Array> {
        let name = this.#context.workspaceState.get<string>(KEY);
        try {
            const kept = name && (await this.#context.secrets.get(name));
            if (kept && /^[0-9a-f]{64}$/.test(kept)) return Buffer.from(kept, 'hex');
            name ??= `identity-${randomBytes(8).toString('hex')}`;
            const made = randomBytes(32);
            await this.#context.secrets.store(name, made.toString('hex'));
            await this.#context.workspaceState.update(KEY, name);
            return made;
        } catch (thrown) {
            this.#log(`no secret can be kept here, so that a reload is a new member: ${String(thrown)}`);
            return randomBytes(32);
        }
    }
}
