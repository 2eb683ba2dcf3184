import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';

import * as vscode from 'vscode';

import { UserError, isAbort, wording } from './errors.js';
import type { LessonPanel } from './lesson.js';
import { address, formatLink, parseLink } from './link.js';
import type { Memory } from './memory.js';
import type { Ask, Session, View } from './session.js';
import { settings } from './settings.js';
import type { Shower } from './show.js';
import { place } from './words.js';
import type { WorkFolder } from './workfolder.js';

/** What commands work on. */
export interface Parts {
    readonly session: Session;
    readonly memory: Memory;
    readonly lesson: LessonPanel;
    readonly shower: Shower;
    readonly work: WorkFolder;
    readonly log: vscode.LogOutputChannel;
}

/** Registers all commands. What fails is told in words, and logged. */
export function register(parts: Parts): vscode.Disposable[] {
    const { session, lesson, shower, work, log } = parts;
    const all: Record<string, (argument?: unknown) => unknown> = {
        join: (link) => joinRoom(parts, typeof link === 'string' ? link : undefined),
        host: () => host(),
        leave: async () => {
            await session.leave();
            lesson.close();
            await shower.close();
        },
        menu: () => menu(session),
        copyLink: async () => {
            const { room } = session.view;
            if (!room) throw new UserError('not-in', 'You are in no tutorial: join one first.');
            await vscode.env.clipboard.writeText(formatLink(room));
            vscode.window.setStatusBarMessage('$(check) The link to the tutorial is copied', 4000);
        },
        follow: () => session.follow(),
        lead: () => (session.view.holder && session.view.role !== 'leading' ? request(session) : session.lead()),
        nextStep: () => session.move(1),
        previousStep: () => session.move(-1),
        goToStep: (index) => goTo(session, index),
        stepClicked: (index) => goTo(session, index),
        showSolution: () => session.solution(true),
        hideSolution: () => session.solution(false),
        explainLock: () => explainLock(session),
        offerControl: (member) => offer(session, (member as { id?: unknown } | undefined)?.id),
        requestControl: () => request(session),
        acceptControl: async () => {
            const ask = await pick(session);
            if (ask) await session.accept(ask);
        },
        declineControl: async () => {
            const ask = await pick(session);
            if (ask) await session.decline(ask);
        },
        releaseControl: () => session.release(),
        showLesson: () => lesson.show(true),
        openFiles: async () => {
            if ((await shower.openFiles(true)) === 0) throw new UserError('no-files', 'This step changes no files that could be opened.');
        },
        showDiff: () => shower.showDiff(),
        checkOut: async () => {
            await work.checkOut();
            // Whoever leads works on the own files from here on.
            if (session.view.role === 'leading') await shower.openFiles(false);
        },
        chooseWorkFolder: () => work.choose(),
        showLog: () => log.show(),
    };
    return Object.entries(all).map(([name, run]) =>
        vscode.commands.registerCommand(`everlink.${name}`, async (argument?: unknown) => {
            try {
                await run(argument);
            } catch (thrown) {
                tell(log, thrown);
            }
        }),
    );
}

/** Tells what went wrong. What the user did wrong is a message; the rest is an error, with the log at hand. */
export function tell(log: vscode.LogOutputChannel, thrown: unknown): void {
    if (isAbort(thrown)) return;
    // Refusals are answers: somebody else leads, said no, or was faster.
    const refusal = /^(Control|State)Error$/.test((thrown as { name?: string } | null)?.name ?? '');
    if (refusal || thrown instanceof UserError) {
        void vscode.window.showWarningMessage(wording(thrown));
        return;
    }
    log.error(thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
    void vscode.window.showErrorMessage(wording(thrown), 'Show Log').then((answer) => {
        if (answer) log.show();
    });
}

/** Asks for a link if none is given, and joins. */
async function joinRoom({ session, memory, log }: Parts, given?: string): Promise<void> {
    if (session.view.status !== 'out') throw new UserError('already-in', 'You are in a tutorial already: leave it first.');
    const link = given ?? (await askForLink());
    if (!link) return;
    const room = parseLink(link, settings.server());
    const guest = { name: settings.name(), secret: await memory.secret(), iceServers: settings.iceServers() };
    try {
        await session.join(room, guest, settings.followAutomatically());
    } catch (thrown) {
        const joined = (session.view as View).status === 'in';
        if (joined || isAbort(thrown) || thrown instanceof UserError) throw thrown;
        log.error(String(thrown));
        const answer = await vscode.window.showErrorMessage(`The tutorial could not be joined. ${wording(thrown)}`, 'Try Again', 'Show Log');
        if (answer === 'Try Again') await vscode.commands.executeCommand('everlink.join', link);
        else if (answer) log.show();
    }
}

/**
 * Hosts a tutorial by the program `everlink`, in a terminal: it reads the repository and shows the link. Nothing goes through a shell.
 */
async function host(): Promise<void> {
    const folders = vscode.workspace.workspaceFolders?.filter(({ uri }) => uri.scheme === 'file') ?? [];
    if (folders.length === 0) throw new UserError('no-folder', 'Open the folder of the tutorial first: a git repository whose commits are the steps.');
    const folder = folders.length === 1 ? folders[0] : await vscode.window.showWorkspaceFolderPick({ placeHolder: 'Which repository is the tutorial?' });
    if (!folder) return;
    const program = await installed('everlink');
    const server = settings.server() || (await vscode.window.showInputBox({
        title: 'Host a tutorial',
        prompt: 'The signaling server, by which the others find it',
        placeHolder: 'https://signal.example.org',
        validateInput: (text) => (text.trim() ? problemOf(() => address(text)) : undefined),
    }));
    if (!server) return;
    const name = settings.name();
    const args = ['tutorial', 'host', folder.uri.fsPath, '--server', address(server), ...(name ? ['--name', name] : [])];
    // As a task, whose terminal stays and shows why it ended.
    const execution = new vscode.ProcessExecution(program, args);
    const task = new vscode.Task({ type: 'everlink' }, folder, 'Host the tutorial', 'Everlink', execution, []);
    task.presentationOptions = { reveal: vscode.TaskRevealKind.Always, focus: true, panel: vscode.TaskPanelKind.Dedicated, echo: false };
    await vscode.tasks.executeTask(task);
}

/** Where a program of this name is, in the folders where programs are. */
async function installed(name: string): Promise<string> {
    const ends = process.platform === 'win32' ? ['.exe'] : [''];
    const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(homedir(), '.cargo/bin')];
    for (const folder of folders.filter((one) => isAbsolute(one))) {
        for (const end of ends) {
            const path = join(folder, `${name}${end}`);
            if (await access(path, constants.X_OK).then(() => true, () => false)) return path;
        }
    }
    throw new UserError('not-installed', `The program “${name}” is not installed here: see README.md of Everlink. It reads the tutorial and hosts it.`);
}

async function askForLink(): Promise<string | undefined> {
    // A browser would ask the user first, or refuse aloud.
    const desktop = vscode.env.uiKind === vscode.UIKind.Desktop;
    const clipboard = desktop ? (await vscode.env.clipboard.readText().then((text) => text, () => '')).trim() : '';
    return vscode.window.showInputBox({
        title: 'Join a tutorial',
        prompt: 'The link that you were given, or the uuid',
        placeHolder: 'everlink://UUID?server=URL',
        value: accepts(clipboard) ? clipboard : '',
        ignoreFocusOut: true,
        validateInput: (text) => (text.trim() ? problem(text) : undefined),
    });
}

function accepts(text: string): boolean {
    return text.length < 2048 && text !== '' && problem(text) === undefined;
}

function problem(text: string): string | undefined {
    return problemOf(() => parseLink(text, settings.server()));
}

function problemOf(check: () => unknown): string | undefined {
    try {
        check();
        return undefined;
    } catch (thrown) {
        return wording(thrown);
    }
}

async function goTo(session: Session, index: unknown): Promise<void> {
    const { outline } = session.view;
    if (!session.canNavigate) {
        // A click in the list is not a mistake.
        if (typeof index === 'number' && session.view.state?.stepContent.index === index) {
            await vscode.commands.executeCommand('everlink.showLesson');
            return;
        }
        return explainLock(session);
    }
    const at = typeof index === 'number' ? index : await pickStep(session);
    const step = at === undefined ? undefined : outline?.steps[at];
    if (step) session.goTo(step);
}

async function pickStep(session: Session): Promise<number | undefined> {
    const steps = session.view.outline?.steps ?? [];
    const items = steps.map((step) => ({ label: `${step.index + 1}  ${step.title}`, description: step.type, index: step.index }));
    return (await vscode.window.showQuickPick(items, { title: 'Show which step?' }))?.index;
}

/** Says who chooses the step, and what one can do about it. */
async function explainLock(session: Session): Promise<void> {
    const { role, holder } = session.view;
    if (role === 'leading') {
        void vscode.window.showInformationMessage(session.lock());
        return;
    }
    const what = holder ? 'Request Control' : 'Lead';
    const answer = await vscode.window.showInformationMessage(session.lock(), what);
    if (answer) await vscode.commands.executeCommand(holder ? 'everlink.requestControl' : 'everlink.lead');
}

async function offer(session: Session, member: unknown): Promise<void> {
    const others = session.view.members.filter(({ id }) => id !== session.view.me);
    let to = typeof member === 'string' ? member : undefined;
    if (to === undefined) {
        if (others.length === 0) throw new UserError('nobody', 'There is nobody else in the tutorial.');
        if (others.length === 1) {
            to = others[0]!.id;
        } else {
            const items = [
                { label: '$(organization) Whoever takes it first', id: undefined as string | undefined },
                ...others.map(({ id }) => ({ label: `$(account) ${session.name(id)}`, id: id as string | undefined })),
            ];
            const picked = await vscode.window.showQuickPick(items, { title: 'Offer control to whom?' });
            if (!picked) return;
            to = picked.id;
        }
    }
    const whom = to === undefined ? 'everybody' : session.name(to);
    const options = { location: vscode.ProgressLocation.Notification, title: `Control is offered to ${whom}…`, cancellable: true };
    const { outcome, name, reason } = await vscode.window.withProgress(options, async (_, token) => {
        token.onCancellationRequested(() => void session.withdraw().catch(() => {}));
        return session.offer(to);
    });
    if (outcome === 'declined') {
        void vscode.window.showInformationMessage(`${name} declined${reason ? `: ${reason}` : '.'} You still lead.`);
    } else if (outcome === 'expired') {
        void vscode.window.showInformationMessage('Nobody took the control that you offered. You still lead.');
    }
}

async function request(session: Session): Promise<void> {
    const { holder } = session.view;
    if (!holder) return session.lead();
    const options = { location: vscode.ProgressLocation.Notification, title: `Asking ${session.name(holder)} for control…` };
    await vscode.window.withProgress(options, () => session.request());
}

async function pick(session: Session): Promise<Ask | undefined> {
    const { asks } = session.view;
    if (asks.length === 0) throw new UserError('ended', 'Nobody waits for an answer any more.');
    if (asks.length === 1) return asks[0];
    const items = asks.map((ask) => ({ label: question(session, ask), ask }));
    return (await vscode.window.showQuickPick(items, { title: 'Which?' }))?.ask;
}

/** An offer or a request, as a sentence. */
export function question(session: Session, ask: Ask): string {
    const name = session.name(ask.from);
    if (ask.kind === 'offer') return `${name} offers you control of the tutorial.`;
    return `${name} asks you for control of the tutorial${ask.reason ? `: “${ask.reason.slice(0, 200)}”` : '.'}`;
}

/** All that can be done now, for whoever clicks on the status bar. */
async function menu(session: Session): Promise<void> {
    const { view } = session;
    if (view.status === 'out') return void vscode.commands.executeCommand('everlink.join');
    const items: { label: string; description?: string; command: string }[] = [];
    const add = (label: string, command: string, when: boolean, description?: string) =>
        when && items.push({ label, command, ...(description && { description }) });
    const inRoom = view.status === 'in';
    const leading = view.role === 'leading';
    for (const ask of view.asks.slice(0, 1)) {
        add(`$(check) ${ask.kind === 'offer' ? 'Accept control' : 'Hand control over'}`, 'acceptControl', true, question(session, ask));
        add('$(x) Decline', 'declineControl', true);
    }
    add('$(arrow-right) Next step', 'nextStep', session.canNavigate, place(view));
    add('$(arrow-left) Previous step', 'previousStep', session.canNavigate);
    add('$(list-ordered) Go to step…', 'goToStep', session.canNavigate);
    add('$(live-share) Offer control…', 'offerControl', leading && view.members.length > 1);
    add('$(circle-slash) Release control', 'releaseControl', leading);
    add('$(eye) Follow', 'follow', inRoom && view.role === 'idle');
    add('$(broadcast) Lead', 'lead', inRoom && !leading && !view.holder);
    add('$(arrow-swap) Request control', 'requestControl', inRoom && !leading && view.holder !== undefined);
    add('$(book) Show lesson', 'showLesson', view.state !== undefined);
    add('$(files) Open the step’s files', 'openFiles', view.state !== undefined);
    add('$(diff) Show what the step changes', 'showDiff', view.state !== undefined);
    add('$(desktop-download) Check the step’s files out', 'checkOut', view.state !== undefined);
    add('$(link) Copy link', 'copyLink', inRoom);
    add('$(debug-disconnect) Leave', 'leave', true);
    const picked = await vscode.window.showQuickPick(items, { title: inRoom ? session.lock() : 'Joining…' });
    if (picked) await vscode.commands.executeCommand(`everlink.${picked.command}`);
}
