import { homedir } from 'node:os';

import * as vscode from 'vscode';

import { carryOut, plan } from './checkout.js';
import { UserError } from './errors.js';
import type { Memory } from './memory.js';
import type { Session } from './session.js';
import { settings } from './settings.js';
import type { ContentStore } from './store.js';
import { shownIndex } from './walk.js';
import { stepName } from './words.js';

/** Where the files of steps are checked out to. */
export class WorkFolder {
    #session: Session;
    #store: ContentStore;
    #memory: Memory;
    #log: (line: string) => void;
    #busy = false;

    constructor(session: Session, store: ContentStore, memory: Memory, log: (line: string) => void) {
        this.#session = session;
        this.#store = store;
        this.#memory = memory;
        this.#log = log;
    }

    /** The folder, if one is known. */
    get path(): string | undefined {
        return settings.workFolder() ?? this.#memory.workFolder;
    }

    /** Asks for the folder, and keeps it for this workspace. */
    async choose(): Promise<string | undefined> {
        if (settings.workFolder()) {
            throw new UserError('by-setting', 'The work folder is set by “everlink.workFolder”: change it in the settings.');
        }
        const start = this.#memory.workFolder ?? vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === 'file')?.uri.fsPath ?? homedir();
        const picked = await vscode.window.showOpenDialog({
            title: 'Where should the files of the tutorial go?',
            openLabel: 'Use This Folder',
            canSelectFiles: false,
            canSelectFolders: true,
            canSelectMany: false,
            defaultUri: vscode.Uri.file(start),
        });
        const folder = picked?.[0];
        if (!folder) return undefined;
        if (folder.scheme !== 'file') throw new UserError('no-folder', 'The work folder must be on this machine.');
        this.#memory.setWorkFolder(folder.fsPath);
        return folder.fsPath;
    }

    /** Puts the files of the step that is shown into the folder. What the user changed there stays, unless confirmed. */
    async checkOut(): Promise<void> {
        const { state, outline } = this.#session.view;
        if (!state) throw new UserError('no-step', 'No step is shown yet.');
        if (this.#busy) throw new UserError('busy', 'The files of a step are being checked out already.');
        const folder = this.path ?? (await this.choose());
        if (!folder) return;
        const index = shownIndex(outline, state);
        const name = stepName(this.#session.view);
        this.#busy = true;
        try {
            const options = { location: vscode.ProgressLocation.Notification, title: `Checking the files of ${name.toLowerCase()} out…` };
            const planned = await vscode.window.withProgress(options, async () => {
                const tree = await this.#store.tree(index);
                return plan(folder, tree, (path) => this.#store.file(index, path), unsavedIn(folder));
            });
            let replace = false;
            if (planned.changed.length > 0) {
                const names = planned.changed.map(({ path }) => path);
                const detail = `${list(names)}\n\nKeeping leaves these files as they are; everything else is checked out.`;
                const count = names.length === 1 ? 'A file has changes' : `${names.length} files have changes`;
                const answer = await vscode.window.showWarningMessage(
                    `${count} of your own.`, { modal: true, detail }, 'Keep Mine', 'Replace With the Tutorial’s',
                );
                if (answer === undefined) return;
                replace = answer !== 'Keep Mine';
            }
            const { written, removed, late } = await carryOut(planned, replace);
            for (const { path, why } of planned.skipped) this.#log(`not checked out: ${JSON.stringify(path)}: ${why}`);
            const kept = [...(replace ? [] : planned.changed.map(({ path }) => path)), ...late];
            const parts = [`${written} written`, `${planned.same} unchanged`];
            if (removed) parts.push(`${removed} removed`);
            if (kept.length) parts.push(`your changes kept in ${list(kept)}`);
            const text = `${name} is checked out to ${folder}: ${parts.join(', ')}.`;
            if (planned.skipped.length) {
                const { path, why } = planned.skipped[0]!;
                const more = planned.skipped.length > 1 ? `, and ${planned.skipped.length - 1} more` : '';
                void vscode.window.showWarningMessage(`${text} Left out: ${printable(path)} (${why})${more}.`);
            } else {
                await this.#offerToOpen(text, folder);
            }
        } finally {
            this.#busy = false;
        }
    }

    async #offerToOpen(text: string, folder: string): Promise<void> {
        const uri = vscode.Uri.file(folder);
        if (vscode.workspace.getWorkspaceFolder(uri)) {
            void vscode.window.showInformationMessage(text);
            return;
        }
        void vscode.window.showInformationMessage(text, 'Add to Workspace').then((answer) => {
            if (answer) vscode.workspace.updateWorkspaceFolders(vscode.workspace.workspaceFolders?.length ?? 0, 0, { uri });
        });
    }
}

/** Files of the folder that are changed in an editor and not saved. */
function unsavedIn(folder: string): ReadonlySet<string> {
    const root = vscode.Uri.file(folder).path.replace(/\/*$/, '/');
    const dirty = vscode.workspace.textDocuments.filter(({ isDirty, uri }) => isDirty && uri.scheme === 'file' && uri.path.startsWith(root));
    return new Set(dirty.map(({ uri }) => uri.path.slice(root.length)));
}

function list(names: readonly string[]): string {
    const shown = names.slice(0, 5).map(printable).join(', ');
    return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

/** A stranger's name, without what would steer or hide text. */
function printable(name: string): string {
    return name.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, '�').slice(0, 120);
}
