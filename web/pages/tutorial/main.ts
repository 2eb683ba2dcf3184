// The page /tutorial: finds the room, joins it, and shows it until it is over.
import { Client, EverlinkError, Identity, TutorialSync, load, parseLink } from '../../src/tutorial/index.js';
import { App } from './app.js';
import { $, table } from './dom.js';

/** The server that this page came from, beneath a path if it is. */
const SIGNALING = new URL('.', location.href).href.replace(/\/$/, '');
const NAME = 'everlink-tutorial';

/** What is kept, where it is to be had. */
const kept = {
    get(key: string, where: 'localStorage' | 'sessionStorage' = 'localStorage'): string {
        try {
            return globalThis[where].getItem(`${NAME}-${key}`) ?? '';
        } catch {
            return '';
        }
    },
    set(key: string, value: string, where: 'localStorage' | 'sessionStorage' = 'localStorage'): void {
        try {
            globalThis[where].setItem(`${NAME}-${key}`, value);
        } catch {
            // Storage is forbidden here: the page forgets.
        }
    },
};

/** What to do about what went wrong, in the words of this page. Anything else says it itself. */
const WORDS = table({
    'service-not-found': 'There is no such room now. A room is there for as long as its host is: ask for a new link, or try again in a moment.',
    'not-found': 'There is no such room now. A room is there for as long as its host is: ask for a new link, or try again in a moment.',
    unreachable: 'The host of the room cannot be reached. Perhaps it has just left, or a firewall is in the way. Try again.',
    'timed-out': 'The host of the room did not answer in time. Try again.',
    full: 'The room is full: its host lets no more people in.',
    'room-full': 'The room is full: its host lets no more people in.',
    'host-full': 'The room is full: its host lets no more people in.',
    version: 'The host speaks another version of everlink. Reload this page; if that does not help, the host has to be updated.',
    'no-webrtc': 'This browser has no WebRTC, or it is switched off: try another, such as Firefox, Chromium or Safari.',
    impersonation: 'Somebody else answered in the name of this room. Do not trust this server.',
});

/** Why a room is over, in the words of this page. Anything else says it itself. */
const OVER = table({
    by_itself: 'You have left the room.',
    by_host: 'The room is closed: its host has ended it.',
    closed: 'The room is closed: its host has ended it.',
    expired: 'The room is closed: nobody did anything in it for a long time.',
    host_gone: 'The room is gone, and its host with it.',
    removed: 'The host has removed you from the room.',
    displaced: 'You have joined this room again somewhere else, and that took your place.',
});

class Told extends Error {}

function words(error: unknown): string {
    if (error instanceof Told) return error.message;
    if (error instanceof EverlinkError) {
        const text = WORDS[error.code.replace(/_/g, '-')] ?? sentence(error.message);
        return error.hint ? `${text} ${sentence(error.hint)}` : text;
    }
    return sentence(error instanceof Error ? error.message : String(error));
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1, 400)}${/[.!?]$/.test(text) ? '' : '.'}`;

// ------------------------------------------------------------------------------------- the door

const input = (id: string) => $<HTMLInputElement>(id);

function trouble(text: string): void {
    $('trouble').textContent = text;
    $('trouble').hidden = !text;
}

function wait(text: string, cancel?: AbortController): void {
    document.body.dataset['view'] = 'wait';
    $('join').hidden = true;
    $('wait').hidden = false;
    $('wait-text').textContent = text;
    const button = $('wait-cancel');
    button.hidden = !cancel;
    button.onclick = () => cancel?.abort();
}

/** When a host has not answered for long, in milliseconds. */
const SILENT = 8000;

interface Choice {
    readonly room: string;
    readonly name: string;
    readonly observer: boolean;
}

/** Asks which room, and in which name. */
function ask(room: string | undefined, why = ''): Promise<Choice> {
    document.body.dataset['view'] = 'door';
    document.title = 'Everlink: a tutorial together';
    $('wait').hidden = true;
    $('join').hidden = false;
    $('room-field').hidden = room !== undefined;
    $('join-title').textContent = room === undefined ? 'Join a tutorial' : 'You are invited';
    $('join-lede').textContent = room === undefined
        ? 'One leads, the others follow, each in their own browser or editor.'
        : 'Somebody shares a tutorial with you. You see the step they are at, and can take the lead when they hand it over.';
    input('name').value ||= kept.get('name');
    trouble(why);
    (room === undefined ? input('room') : input('name')).focus({ preventScroll: true });
    return new Promise((resolve) => {
        $('join').onsubmit = (event) => {
            event.preventDefault();
            const link = read(room ?? input('room').value);
            if (!link) return;
            const name = fitting(input('name').value);
            kept.set('name', name);
            resolve({ room: link, name, observer: input('observer').checked });
        };
    });
}

/** A name as a room takes it: 64 bytes, no control characters. */
function fitting(name: string): string {
    let fits = '';
    for (const letter of name.replace(/\p{Cc}+/gu, ' ').trim()) {
        if (new TextEncoder().encode(fits + letter).length > 64) break;
        fits += letter;
    }
    return fits;
}

/** The room of a link; one of another server is opened there. */
function read(text: string): string | undefined {
    try {
        if (!text.trim()) throw new Told('Paste the link that you were given: it says which room.');
        const { room, server } = parseLink(text);
        if (server && new URL(server).origin !== location.origin) {
            const there = new URL(`${server.replace(/\/$/, '')}/tutorial#${room}`);
            if (!/^https?:$/.test(there.protocol)) throw new Told('This link leads to a server that is none.');
            location.href = there.href;
            return undefined;
        }
        return room;
    } catch (error) {
        trouble(error instanceof Told ? error.message
            : 'This is no link to a room. It looks like https://SERVER/tutorial#UUID, everlink://UUID?server=URL, or is the uuid alone: perhaps its end is missing.');
        input('room').focus();
        return undefined;
    }
}

// ------------------------------------------------------------------------------------- the room

/**
 * This browser's client for a room. Its identity is that of all its tabs, and what it has in the room outlives a reload;
 * but one tab at a time can be it, so another one is somebody else.
 */
async function client(room: string, signal: AbortSignal): Promise<{ client: Client; other: boolean }> {
    let identity: Identity | undefined;
    try {
        identity = await Identity.load(NAME);
    } catch {
        // Without IndexedDB: this page alone.
        identity = await Identity.generate();
    }
    for (let tries = 0; ; tries++) {
        signal.throwIfAborted();
        try {
            const options = { signaling: SIGNALING, identity, store: { indexedDb: `${NAME}-${room}`, otherwise: 'memory' as const } };
            return { client: await Client.create(options), other: false };
        } catch (error) {
            if (!(error instanceof EverlinkError && error.code === 'locked')) throw error;
            // The page before the reload lets go of it in a moment; another tab does not.
            if (tries === 12) return { client: await Client.create({ signaling: SIGNALING, identity: await Identity.generate() }), other: true };
            await new Promise((resolve) => setTimeout(resolve, 150));
        }
    }
}

async function visit({ room, name, observer }: Choice): Promise<string> {
    const stop = new AbortController();
    wait('Connecting to the room…', stop);
    // It never gives up by itself: a host may be coming back at this moment.
    const silent = setTimeout(() => wait('The host of the room does not answer yet. Perhaps it has just left, or no way leads to it. This goes on trying.', stop), SILENT);
    let made: Client | undefined;
    try {
        await load();
        const { client: own, other } = await client(room, stop.signal);
        made = own;
        const sync = await TutorialSync.connect(own, room, { ...(name ? { name } : {}), observer, signal: stop.signal });
        clearTimeout(silent);
        // From here on a reload comes back by itself, in this tab.
        kept.set('in', JSON.stringify({ room, name, observer }), 'sessionStorage');
        const link = new URL(location.href);
        link.hash = room;
        if (location.hash.slice(1) !== room) history.replaceState(null, '', link.hash);
        const app = new App({
            room: sync, id: room, link: link.href, observer,
            onLeave: () => kept.set('in', '', 'sessionStorage'),
        });
        Object.assign(globalThis, { everlinkTutorial: { app, sync, client: own } });
        if (other) app.note('Another tab of this browser is in this room, so you are somebody else here.');
        const reason = await app.run();
        kept.set('in', '', 'sessionStorage');
        return OVER[reason.code] ?? sentence(reason.message);
    } catch (error) {
        kept.set('in', '', 'sessionStorage');
        if (stop.signal.aborted) return '';
        console.warn(error);
        return words(error);
    } finally {
        clearTimeout(silent);
        await made?.shutdown().catch(() => {});
    }
}

function remembered(): Choice | undefined {
    try {
        const { room, name, observer } = JSON.parse(kept.get('in', 'sessionStorage')) as Record<string, unknown>;
        return { room: parseLink(String(room)).room, name: String(name ?? ''), observer: observer === true };
    } catch {
        return undefined;
    }
}

/** The room that the address says: `undefined` if it says none, `null` if it says something else. */
function addressed(): string | undefined | null {
    const text = decodeURIComponent(location.hash.slice(1));
    if (!text) return undefined;
    try {
        return parseLink(text).room;
    } catch {
        return null;
    }
}

async function start(): Promise<never> {
    let room = addressed();
    let why = room === null ? 'This link is not complete: after the # there must be the uuid of a room. Ask for it again, or paste it here.' : '';
    const before = remembered();
    if (before && before.room === room) why = await visit(before);
    while (true) {
        const choice = await ask(room ?? undefined, why);
        room = choice.room;
        why = await visit(choice);
    }
}

addEventListener('hashchange', () => location.reload());
// Loaded while the name is being typed.
void load().catch(() => {});
start().catch((error: unknown) => {
    console.error(error);
    $('wait-text').textContent = words(error);
});
