import { setTimeout as wait } from 'node:timers/promises';

import * as vscode from 'vscode';

import { question, register, tell } from './commands.js';
import { wording } from './errors.js';
import { join } from './everlink.js';
import { TutorialFiles } from './files.js';
import { LessonPanel, VIEW_TYPE } from './lesson.js';
import { formatLink, parseLink } from './link.js';
import { Memory } from './memory.js';
import { Session, type Notice, type View } from './session.js';
import { settings } from './settings.js';
import { Shower } from './show.js';
import { ContentStore } from './store.js';
import { PeopleTree, StepsTree } from './trees.js';
import { shownIndex, showsSolution, solutionOf, stopOf } from './walk.js';
import { status } from './words.js';
import { WorkFolder } from './workfolder.js';

export function activate(context: vscode.ExtensionContext): void {
    const log = vscode.window.createOutputChannel('Everlink Tutorial', { log: true });
    const memory = new Memory(context, (line) => log.warn(line));
    const session = new Session(join, (ms, signal) => wait(ms, undefined, { signal }));
    session.onLog = (line) => log.info(line);
    session.onRemember = (what) => memory.remember(what);

    const again = memory.session;
    // Documents that VS Code opens again wait for the room that is joined again.
    let resumed: Promise<void> = Promise.resolve();
    const store = new ContentStore(() => session.content());
    const files = new TutorialFiles(store, async () => {
        await resumed;
        await session.settled();
        return session.view.room?.uuid;
    });
    const work = new WorkFolder(session, store, memory, (line) => log.warn(line));
    const shower = new Shower(session, store, () => work.path);
    const lesson = new LessonPanel(session, store, context.extensionUri, (path) => void shower.openFile(path).catch((thrown: unknown) => tell(log, thrown)));
    const steps = new StepsTree(session);
    const people = new PeopleTree(session);
    const stepsView = vscode.window.createTreeView('everlink.steps', { treeDataProvider: steps, showCollapseAll: false });
    const bar = vscode.window.createStatusBarItem('everlink.status', vscode.StatusBarAlignment.Left, 100);
    bar.name = 'Tutorial';
    bar.command = 'everlink.menu';

    const show = (): void => {
        const { text, tooltip, warning } = status(session);
        bar.text = text;
        bar.tooltip = tooltip;
        bar.accessibilityInformation = { label: `Tutorial: ${text.replace(/\$\([^)]*\)\s*/g, '')}` };
        bar.backgroundColor = warning ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
        bar.show();
        setContexts(session);
        steps.refresh();
        people.refresh();
        stepsView.message = session.view.status === 'in' && session.view.role !== 'leading' ? session.lock() : '';
        stepsView.description = session.view.state?.tutorialTitle ?? '';
        void lesson.update();
    };

    // One change of the package is several of the session: they are shown together, and what is opened follows in order.
    let pending = false;
    let opening: Promise<unknown> = Promise.resolve();
    let opened: string | undefined;
    session.onChange = (view, before) => {
        if (view.room?.uuid !== before.room?.uuid) store.clear();
        if (pending) return;
        pending = true;
        setImmediate(() => {
            pending = false;
            show();
            const key = session.view.status === 'in' ? keyOf(session.view) : undefined;
            const leads = session.view.role === 'leading';
            if (session.view.status === 'out') opened = undefined;
            if (key === undefined || (session.view.role === 'idle' && !lesson.isOpen)) return;
            const now = `${key}${leads}`;
            // With the role changes which copy of a file is shown.
            if (opened === now) return;
            opened = now;
            revealCurrent(stepsView, steps);
            opening = opening.then(() => openStep(lesson, shower)).catch((thrown: unknown) => log.error(`opening a step: ${wording(thrown)}`));
        });
    };
    session.onNotice = (notice) => {
        // What cannot be read any more goes, as it does for whoever leaves.
        if (notice.type === 'ended') opening = opening.then(() => (lesson.close(), shower.close())).catch(() => {});
        void notify(session, notice).catch((thrown: unknown) => tell(log, thrown));
    };

    context.subscriptions.push(
        log,
        bar,
        stepsView,
        vscode.window.createTreeView('everlink.people', { treeDataProvider: people }),
        files.register(),
        vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, lesson),
        vscode.window.registerUriHandler({ handleUri: (uri) => void joinByUri(uri).catch((thrown: unknown) => tell(log, thrown)) }),
        ...register({ session, memory, lesson, shower, work, log }),
    );
    show();
    if (again) resumed = resume(session, memory, again, log);
}

/**
 * VS Code ends the process. The room is not left: to whoever comes back within its lease it gives the role again.
 */
export function deactivate(): void {}

async function resume(session: Session, memory: Memory, again: NonNullable<Memory['session']>, log: vscode.LogOutputChannel): Promise<void> {
    const guest = { name: settings.name(), secret: await memory.secret(), iceServers: settings.iceServers() };
    log.info(`rejoining ${again.room.uuid}, as ${again.role}`);
    try {
        await session.join(again.room, guest, settings.followAutomatically(), again);
    } catch (thrown) {
        if (session.view.status === 'out') memory.remember(undefined);
        tell(log, thrown);
    }
}

/** `vscode://everlink.everlink-tutorial/join?link=…`: any page can open it, so that the user decides. */
async function joinByUri(uri: vscode.Uri): Promise<void> {
    if (uri.path !== '/join') return;
    const room = parseLink(new URLSearchParams(uri.query).get('link') ?? '', settings.server());
    const detail = `Room ${room.uuid}\nServer ${room.server}`;
    const answer = await vscode.window.showInformationMessage('Join this tutorial?', { modal: true, detail }, 'Join');
    if (answer) await vscode.commands.executeCommand('everlink.join', formatLink(room));
}

async function openStep(lesson: LessonPanel, shower: Shower): Promise<void> {
    const what = settings.onStep();
    if (what === 'files' || what === 'lessonAndFiles') await shower.openFiles(false);
    if (what === 'lesson' || what === 'lessonAndFiles') lesson.show(false);
    if (what === 'diff') await shower.showDiff();
}

function revealCurrent(view: vscode.TreeView<never> | vscode.TreeView<unknown>, steps: StepsTree): void {
    const node = steps.current();
    if (node && view.visible) void (view as vscode.TreeView<unknown>).reveal(node, { select: true, focus: false });
}

async function notify(session: Session, notice: Notice): Promise<void> {
    switch (notice.type) {
        case 'asked': {
            const yes = notice.ask.kind === 'offer' ? 'Accept' : 'Hand Over';
            const answer = await vscode.window.showInformationMessage(question(session, notice.ask), yes, 'Decline');
            if (answer === yes) await session.accept(notice.ask);
            else if (answer) await session.decline(notice.ask);
            return;
        }
        case 'leading':
            vscode.window.setStatusBarMessage('$(broadcast) You lead now', 5000);
            return;
        case 'following':
            void vscode.window.showInformationMessage(`${notice.name} leads now, and you follow.`);
            return;
        case 'holder_lost': {
            const answer = await vscode.window.showInformationMessage(`${notice.name} is gone: nobody leads now.`, 'Lead');
            if (answer) await session.lead();
            return;
        }
        case 'ended': {
            const answer = await vscode.window.showWarningMessage(`You are no longer in the tutorial. ${wording(notice.reason)}`, 'Join Again');
            if (answer) await vscode.commands.executeCommand('everlink.join', formatLink(notice.room));
            return;
        }
    }
}

/** What menus and keys go by. */
function setContexts(session: Session): void {
    const { view } = session;
    const joined = view.status === 'in';
    const { state, outline } = view;
    const at = state && outline ? stopOf(outline, state.stepContent.index) : undefined;
    const keys = {
        joined,
        joining: view.status === 'joining',
        role: joined ? view.role : '',
        canNavigate: joined && session.canNavigate,
        hasLeader: joined && view.holder !== undefined,
        hasOffer: view.asks.some(({ kind }) => kind === 'offer'),
        hasRequest: view.asks.some(({ kind }) => kind === 'request'),
        hasStep: joined && state !== undefined,
        hasSteps: joined && (outline !== undefined || state !== undefined),
        hasSolution: outline !== undefined && at !== undefined && solutionOf(outline, at) !== undefined,
        showingSolution: state !== undefined && showsSolution(state),
        healing: view.healing,
    };
    for (const [key, value] of Object.entries(keys)) {
        if (told.get(key) === value) continue;
        told.set(key, value);
        void vscode.commands.executeCommand('setContext', `everlink.${key}`, value);
    }
}

const told = new Map<string, unknown>();

/** Names what is shown: another one is opened. */
function keyOf({ room, state, outline }: View): string | undefined {
    return state && `${room?.uuid}/${shownIndex(outline, state)}/${state.stepContent.commitHash}/${showsSolution(state)}/`;
}
