import { randomBytes } from 'node:crypto';

import * as vscode from 'vscode';

import { wording } from './errors.js';
import { dataUrl, escape, picturesOf, renderMarkdown, type Pictures } from './markdown.js';
import type { Session } from './session.js';
import type { ContentStore } from './store.js';
import type { StepPage } from './sync.js';
import { neighbour, shownIndex, showsSolution, solutionOf, stopOf } from './walk.js';
import { kindOf, leader } from './words.js';

export const VIEW_TYPE = 'everlink.lesson';

// What the page may ask for; anything else that it says is nothing.
const commands = new Set([
    'nextStep', 'previousStep', 'showSolution', 'hideSolution', 'requestControl', 'lead', 'follow', 'openFiles', 'showDiff', 'checkOut',
    'acceptControl', 'declineControl', 'releaseControl', 'offerControl',
]);

/** The text of the step, beside the files: with who leads, and the buttons for it. */
export class LessonPanel implements vscode.WebviewPanelSerializer {
    #session: Session;
    #store: ContentStore;
    #media: vscode.Uri;
    #openFile: (path: string) => void;
    #panel: vscode.WebviewPanel | undefined;
    /** What the page shows, and the lesson in it. */
    #shown = { body: '', head: '', key: '' };

    constructor(session: Session, store: ContentStore, extension: vscode.Uri, openFile: (path: string) => void) {
        this.#session = session;
        this.#store = store;
        this.#media = vscode.Uri.joinPath(extension, 'media');
        this.#openFile = openFile;
    }

    /** Whether it is open. */
    get isOpen(): boolean {
        return this.#panel !== undefined;
    }

    /** Opens it beside the files, or brings it to the front, without taking the keyboard away unless `focus`. */
    show(focus: boolean): void {
        const panel = this.#panel;
        if (panel) {
            // With files in front of it, it goes where it belongs: beside them.
            const hidden = !panel.visible && panel.viewColumn === vscode.ViewColumn.One;
            if (focus || !panel.visible) panel.reveal(hidden && !focus ? vscode.ViewColumn.Two : undefined, !focus);
        } else {
            const column = { viewColumn: vscode.ViewColumn.Two, preserveFocus: !focus };
            this.#take(vscode.window.createWebviewPanel(VIEW_TYPE, 'Lesson', column, { enableFindWidget: true }));
        }
        void this.update();
    }

    async deserializeWebviewPanel(panel: vscode.WebviewPanel): Promise<void> {
        this.#take(panel);
        await this.update();
    }

    close(): void {
        this.#panel?.dispose();
    }

    /** Shows what the session is now. */
    async update(): Promise<void> {
        const panel = this.#panel;
        const { view } = this.#session;
        if (!panel) return;
        const head = this.#head();
        const { state, outline } = view;
        panel.title = state ? state.stepContent.title : 'Lesson';
        if (!state || view.status === 'out') {
            this.#post({ head, body: `<p class="note">${view.status === 'out' ? 'You are in no tutorial.' : 'Nothing is shown yet.'}</p>`, key: '' });
            return;
        }
        const index = shownIndex(outline, state);
        const key = `${view.room?.uuid}/${index}/${state.stepContent.commitHash}`;
        if (this.#shown.key === key) {
            this.#post({ ...this.#shown, head });
            return;
        }
        try {
            const slow = setTimeout(() => this.#post({ head, body: '<p class="note">Fetching the lesson…</p>', key: '' }), 150);
            const page = await this.#store.page(index, false).finally(() => clearTimeout(slow));
            if (this.#current() !== key) return;
            this.#post({ head: this.#head(page), body: this.#body(page, new Map()), key });
            await this.#showPictures(page, key);
        } catch (thrown) {
            if (this.#current() !== key) return;
            this.#post({ head, body: `<p class="note">The lesson cannot be had: ${escape(wording(thrown))}</p>`, key: '' });
        }
    }

    #current(): string | undefined {
        const { state, outline, room } = this.#session.view;
        return state && `${room?.uuid}/${shownIndex(outline, state)}/${state.stepContent.commitHash}`;
    }

    #take(panel: vscode.WebviewPanel): void {
        this.#panel = panel;
        this.#shown = { body: '', head: '', key: '' };
        panel.iconPath = vscode.Uri.joinPath(this.#media, 'tutorial-color.svg');
        panel.webview.options = { enableScripts: true, enableCommandUris: false, localResourceRoots: [this.#media] };
        panel.webview.html = this.#html(panel.webview);
        panel.onDidDispose(() => {
            if (this.#panel === panel) this.#panel = undefined;
        });
        panel.webview.onDidReceiveMessage((message: unknown) => {
            const { command, file, ready } = (message ?? {}) as { command?: unknown; file?: unknown; ready?: unknown };
            if (typeof command === 'string' && commands.has(command)) void vscode.commands.executeCommand(`everlink.${command}`);
            else if (typeof file === 'string') this.#openFile(file);
            else if (ready === true) void panel.webview.postMessage(this.#shown);
        });
    }

    #post(shown: { body: string; head: string; key: string }): void {
        const same = this.#shown.body === shown.body && this.#shown.head === shown.head;
        this.#shown = shown;
        if (!same) void this.#panel?.webview.postMessage(shown);
    }

    #head(page?: StepPage): string {
        const session = this.#session;
        const { view } = session;
        const { state, outline } = view;
        if (!state) return '';
        const at = outline ? stopOf(outline, state.stepContent.index) : state.stepContent.index;
        const summary = outline?.steps[at];
        const solution = showsSolution(state);
        const section = summary?.section && summary.section !== state.stepContent.title ? ` · ${escape(summary.section)}` : '';
        const kind = solution ? 'solution' : (page?.type ?? state.stepContent.type);
        const leading = session.canNavigate;
        const button = (command: string, text: string, enabled = true, primary = false) =>
            `<button data-command="${command}"${enabled ? '' : ' disabled'}${primary ? ' class="primary"' : ''}>${text}</button>`;

        const buttons: string[] = [];
        if (leading && outline) {
            buttons.push(button('previousStep', '← Previous', neighbour(outline, at, -1) !== undefined));
            buttons.push(button('nextStep', 'Next →', neighbour(outline, at, 1) !== undefined, true));
            if (solutionOf(outline, at)) buttons.push(solution ? button('hideSolution', 'Hide solution') : button('showSolution', 'Show solution'));
            if (view.members.length > 1) buttons.push(button('offerControl', 'Offer control', !view.offering));
        } else if (view.holder && view.role !== 'leading') {
            buttons.push(button('requestControl', view.requesting ? 'Asked for control…' : 'Request control', !view.requesting));
            if (view.role === 'idle') buttons.push(button('follow', 'Follow', true, true));
        } else if (view.role !== 'leading') {
            buttons.push(button('lead', 'Lead', true, true));
        }
        const ask = view.asks[0];
        const asked = ask
            ? `<div class="ask" role="alert"><span>${escape(session.name(ask.from))} ${ask.kind === 'offer' ? 'offers you control.' : 'asks for control.'}</span>
               ${button('acceptControl', ask.kind === 'offer' ? 'Accept' : 'Hand over', true, true)}${button('declineControl', 'Decline')}</div>`
            : '';
        const who = view.healing
            ? 'Reconnecting: your role is kept'
            : view.role === 'leading'
              ? 'You lead'
              : view.holder
                ? `${escape(leader(session))} leads${view.role === 'following' ? ', you follow' : ''}`
                : 'Nobody leads';
        return `<div class="tutorial">${escape(state.tutorialTitle)}${section}</div>
            <div class="bar"><span class="kind ${kind}">${kindOf(kind)}</span>
            <span class="place">Step ${state.stepContent.index + 1} of ${state.totalSteps}</span>
            <span class="who ${view.healing ? 'healing' : view.role}" role="status">${who}</span></div>${asked}
            <div class="buttons">${buttons.join('')}</div>`;
    }

    /** Shows the pictures of the lesson when they are there: the text does not wait for them. */
    async #showPictures(page: StepPage, key: string): Promise<void> {
        const pictures = new Map<string, string>();
        await Promise.all([...picturesOf(page.markdown)].map(async ([source, path]) => {
            const bytes = await this.#store.file(page.index, path).catch(() => undefined);
            if (bytes) pictures.set(source, dataUrl(path, bytes));
        }));
        if (pictures.size === 0 || this.#current() !== key) return;
        this.#post({ head: this.#head(page), body: this.#body(page, pictures), key });
    }

    #body(page: StepPage, pictures: Pictures): string {
        const text = page.markdown.trim() ? renderMarkdown(page.markdown, pictures) : '<p class="note">This step has no text.</p>';
        const rows = page.files.map((file) => {
            const count = file.binary ? 'binary' : file.tooLarge ? 'too large' : `<ins>+${file.additions ?? 0}</ins> <del>−${file.deletions ?? 0}</del>`;
            const name = file.oldPath ? `${escape(file.oldPath)} → ${escape(file.path)}` : escape(file.path);
            return `<li><button class="file" data-file="${escape(file.path)}" title="${file.status}: what changes"><span class="status ${file.status}" aria-hidden="true">${file.status[0]!.toUpperCase()}</span>${name}</button><span class="count">${count}</span></li>`;
        });
        const files = rows.length
            ? `<section class="files"><h2>What this step changes</h2><ul>${rows.join('')}</ul><div class="buttons">
               <button data-command="showDiff">Show all changes</button><button data-command="openFiles">Open files</button>
               <button data-command="checkOut">Check out</button></div></section>`
            : '';
        return `<article>${text}</article>${files}`;
    }

    #html(webview: vscode.Webview): string {
        const nonce = randomBytes(16).toString('hex');
        const at = (name: string) => webview.asWebviewUri(vscode.Uri.joinPath(this.#media, name)).toString();
        const policy = `default-src 'none'; img-src data:; style-src ${webview.cspSource}; script-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'`;
        return `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${at('lesson.css')}"><title>Lesson</title></head>
<body><header id="head"></header><main id="body"><p class="note">Connecting…</p></main>
<script nonce="${nonce}" src="${at('lesson.js')}"></script></body></html>`;
    }
}
