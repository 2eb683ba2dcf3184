import * as vscode from 'vscode';

import { codeOf, wording } from './errors.js';
import type { ContentStore } from './store.js';
import type { FileChange, StepPage } from './sync.js';

/** The scheme of the tutorial's own versions of files. */
export const SCHEME = 'everlink-tutorial';

/** A file of a step, as a document: `everlink-tutorial://ROOM/PATH?INDEX`. Both sides of a change have the same path. */
export function fileUri(room: string, index: number, path: string): vscode.Uri {
    return at(room, path, String(index));
}

/** What a file was before the step: `…?INDEX-before`. */
export function beforeUri(room: string, page: StepPage, change: FileChange): vscode.Uri {
    return at(room, change.oldPath || change.path, `${page.index}-before`);
}

/** Nothing, under a name: the other side of a file that is added or deleted. */
export function emptyUri(room: string, path: string): vscode.Uri {
    return at(room, path, 'none');
}

function at(room: string, path: string, query: string): vscode.Uri {
    return vscode.Uri.from({ scheme: SCHEME, authority: room, path: `/${path}`, query });
}

/** The tutorial's files, for VS Code to read. Nobody can write them: one's own are in the work folder. */
export class TutorialFiles implements vscode.FileSystemProvider {
    #store: ContentStore;
    #room: () => Promise<string | undefined>;
    #nothing = new vscode.EventEmitter<vscode.FileChangeEvent[]>();

    readonly onDidChangeFile = this.#nothing.event;

    constructor(store: ContentStore, room: () => Promise<string | undefined>) {
        this.#store = store;
        this.#room = room;
    }

    /** Tells VS Code that it may do so, and what to say to whoever types into such a file. */
    register(): vscode.Disposable {
        const text = new vscode.MarkdownString(
            'This is the tutorial’s version of the file, which nobody edits. [Check the step’s files out](command:everlink.checkOut) to work on your own.',
        );
        text.isTrusted = { enabledCommands: ['everlink.checkOut'] };
        return vscode.workspace.registerFileSystemProvider(SCHEME, this, { isCaseSensitive: true, isReadonly: text });
    }

    watch(): vscode.Disposable {
        // A commit does not change.
        return new vscode.Disposable(() => {});
    }

    async stat(uri: vscode.Uri): Promise<vscode.FileStat> {
        const { length } = await this.readFile(uri);
        return { type: vscode.FileType.File, ctime: 0, mtime: 0, size: length, permissions: vscode.FilePermission.Readonly };
    }

    async readFile(uri: vscode.Uri): Promise<Uint8Array> {
        const place = uri.query;
        const path = uri.path.slice(1);
        if (!/^(none|\d+(-before)?)$/.test(place) || !path) throw vscode.FileSystemError.FileNotFound(uri);
        if (place === 'none') return new Uint8Array();
        if (uri.authority !== (await this.#room())) {
            throw vscode.FileSystemError.Unavailable('This file is of a tutorial that you are not in.');
        }
        const index = Number.parseInt(place, 10);
        try {
            if (!place.endsWith('-before')) return await this.#store.file(index, path);
            const page = await this.#store.page(index, false);
            const change = page.files.find((file) => (file.oldPath || file.path) === path);
            return change ? await this.#store.before(page, change) : new Uint8Array();
        } catch (thrown) {
            if (codeOf(thrown) === 'not-found') throw vscode.FileSystemError.FileNotFound(uri);
            throw vscode.FileSystemError.Unavailable(wording(thrown));
        }
    }

    readDirectory(): [string, vscode.FileType][] {
        return [];
    }

    createDirectory(uri: vscode.Uri): never {
        throw vscode.FileSystemError.NoPermissions(uri);
    }

    writeFile(uri: vscode.Uri): never {
        throw vscode.FileSystemError.NoPermissions(uri);
    }

    delete(uri: vscode.Uri): never {
        throw vscode.FileSystemError.NoPermissions(uri);
    }

    rename(uri: vscode.Uri): never {
        throw vscode.FileSystemError.NoPermissions(uri);
    }
}
