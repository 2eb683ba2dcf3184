import { access } from 'node:fs/promises';
import { join } from 'node:path';

import * as vscode from 'vscode';

import { UserError } from './errors.js';
import { SCHEME, beforeUri, emptyUri, fileUri } from './files.js';
import { badPath } from './paths.js';
import type { Session } from './session.js';
import type { ContentStore } from './store.js';
import type { FileChange, StepPage } from './sync.js';
import { shownIndex } from './walk.js';
import { stepName } from './words.js';

/** How many files are opened for a step. */
const OPENED = 6;

/** Opens what a step has: its files and its changes. */
export class Shower {
    #session: Session;
    #store: ContentStore;
    #workFolder: () => string | undefined;

    constructor(session: Session, store: ContentStore, workFolder: () => string | undefined) {
        this.#session = session;
        this.#store = store;
        this.#workFolder = workFolder;
    }

    /** The page of the step that is shown. */
    async page(): Promise<StepPage> {
        const { state, outline } = this.#session.view;
        if (!state) throw new UserError('no-step', 'No step is shown yet.');
        return this.#store.page(shownIndex(outline, state), false);
    }

    /** Opens the files that the step changes. Whoever leads gets the own ones of the work folder, if they are there. */
    async openFiles(focus: boolean): Promise<number> {
        const page = await this.page();
        const files = page.files.filter((file) => file.status !== 'deleted' && !file.tooLarge && !isLesson(file.path));
        const places = await Promise.all(files.slice(0, OPENED).map((file) => this.#place(page.index, file.path)));
        if (this.#moved(page)) return 0;
        const uris = places.filter((uri) => uri !== undefined);
        // The first is opened last, so that it is in front.
        for (const [at, uri] of [...uris.entries()].reverse()) {
            await open(uri, { viewColumn: vscode.ViewColumn.One, preview: false, preserveFocus: at > 0 || !focus });
        }
        // Only now: a group of editors without any would close, and another take its place.
        await this.#closeOthers(new Set(uris.map(String)));
        return uris.length;
    }

    /** Opens one file of the step: as its change, if it is text. */
    async openFile(path: string): Promise<void> {
        const page = await this.page();
        const change = page.files.find((file) => file.path === path);
        if (!change) return;
        if (change.tooLarge) throw new UserError('too-large', `“${path}” is larger than 1 MiB, and is not shown.`);
        const [before, after] = this.#sides(page, change);
        if (change.binary) {
            await open(change.status === 'deleted' ? before : after, { viewColumn: vscode.ViewColumn.One });
        } else {
            await vscode.commands.executeCommand('vscode.diff', before, after, this.#title(path), { viewColumn: vscode.ViewColumn.One });
        }
    }

    /** Shows what the step changes, in VS Code's own diff editor. */
    async showDiff(): Promise<void> {
        const page = await this.page();
        const files = page.files.filter((file) => !file.tooLarge && !(isLesson(file.path) && page.files.length > 1));
        if (files.length === 0) throw new UserError('no-changes', 'This step changes no files.');
        if (files.length === 1) return this.openFile(files[0]!.path);
        const changes = files.map((file) => {
            const [before, after] = this.#sides(page, file);
            return [after, file.status === 'added' ? undefined : before, file.status === 'deleted' ? undefined : after];
        });
        await vscode.commands.executeCommand('vscode.changes', this.#title('changes'), changes);
    }

    /** Closes the tutorial's documents. */
    async close(): Promise<void> {
        await this.#closeOthers(new Set());
    }

    #sides(page: StepPage, change: FileChange): [vscode.Uri, vscode.Uri] {
        const room = this.#session.view.room!.uuid;
        const before = change.status === 'added' ? emptyUri(room, change.path) : beforeUri(room, page, change);
        const after = change.status === 'deleted' ? emptyUri(room, change.path) : fileUri(room, page.index, change.path);
        return [before, after];
    }

    /** Where a file of a step is shown: the own copy for whoever leads, else the tutorial's; nowhere if it cannot be had. */
    async #place(index: number, path: string): Promise<vscode.Uri | undefined> {
        const folder = this.#session.view.role === 'leading' && !badPath(path) ? this.#workFolder() : undefined;
        if (folder) {
            const own = join(folder, path);
            if (await access(own).then(() => true, () => false)) return vscode.Uri.file(own);
        }
        const { room } = this.#session.view;
        const there = await this.#store.file(index, path).then(() => true, () => false);
        return room && there ? fileUri(room.uuid, index, path) : undefined;
    }

    #title(what: string): string {
        return `${stepName(this.#session.view)}: ${what}`;
    }

    /** Whether another step came meanwhile. */
    #moved(page: StepPage): boolean {
        const { state, outline } = this.#session.view;
        return !state || shownIndex(outline, state) !== page.index;
    }

    /** Closes documents of other steps: they would pile up. The user's own stay. */
    async #closeOthers(keep: ReadonlySet<string>): Promise<void> {
        const others = vscode.window.tabGroups.all.flatMap((group) => group.tabs).filter(({ input }) => {
            const uri = input instanceof vscode.TabInputTextDiff ? input.modified : (input as { uri?: vscode.Uri } | undefined)?.uri;
            return uri?.scheme === SCHEME && !keep.has(String(uri));
        });
        if (others.length) await vscode.window.tabGroups.close(others, true);
    }
}

/** The text of the step is shown as such. */
function isLesson(path: string): boolean {
    return /^readme\.md$/i.test(path);
}

async function open(uri: vscode.Uri, options: vscode.TextDocumentShowOptions): Promise<void> {
    // Pictures and such have editors of their own.
    await vscode.commands.executeCommand('vscode.open', uri, options);
}
