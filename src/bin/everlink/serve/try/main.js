// Puts the page together: who is here, the button that cuts, the figures.

import { cut, hold, release } from './cut.js';
import { drawn } from './qr.js';
import { Side, store, stored } from './side.js';
import { pulse } from './wire.js';

const $ = (id) => document.getElementById(id);
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** This page is /try; the server is one level up, below whatever prefix a proxy has put there. */
const SIGNALING = new URL('.', location.href).href.replace(/\/$/, '');
// Nobody types all the time, and a cut is to be seen all the same: so it asks three times a second.
const OPTIONS = {
    queue: 'lossless',
    liveness: { idleProbe: 300, suspectAfter: 400 },
    backoff: { base: 200, max: 500, maxAttempts: null },
    onSessionLost: 'start-fresh',
    parkFor: 600_000,
};

let everlink;
let host;
let guest;
let service;
/** The outage that was made here: since when, and how much had been replayed before. */
let outage;

// --------------------------------------------------------------------------------------- the sides

const sides = {};

function makeSide(id, letter, name) {
    const back = id === 'b';
    sides[id] = new Side($(id), letter, name, {
        said: () => pulse(back),
        // On the same page it was drawn when it was said.
        heard: () => document.body.dataset.mode !== 'two' && pulse(!back),
        typed: () => id === typist?.id && stopTyping(),
        state: () => showLink(),
        event: (event) => happened(event),
        closed: (reason) => closed(id, reason),
    });
    return sides[id];
}

/** A connection ended for good; says whether its side shall be free for the next. */
function closed(id, reason) {
    const mode = document.body.dataset.mode;
    // Somebody came by the link and took the place of the other side on this page.
    if (id === 'b' && mode === 'two' && reason.code === 'peer') choose('host');
    return mode !== 'guest';
}

function here() {
    return Object.values(sides).filter((side) => side.connected);
}

function showLink() {
    const states = here().map((side) => side.state);
    const is = states.includes('cut') || $('hold').checked ? 'cut' : states.includes('live') ? 'live' : 'waiting';
    const body = document.body;
    if (body.dataset.link !== is) {
        if (is === 'live' && body.dataset.link === 'waiting') tell('The link is there: type on either side.');
        body.dataset.link = is;
    }
    const ready = states.some((state) => state === 'live' || state === 'cut');
    for (const id of ['cut', 'hold', 'auto']) $(id).disabled = !ready;
    $('cut').classList.toggle('mend', $('hold').checked);
    $('cut').querySelector('span').textContent = $('hold').checked ? 'Let it heal' : 'Cut the link';
}

function happened(event) {
    refresh();
    if (event.type !== 'connected' || !event.resumed) return;
    if (!outage) return showRecovery(event.after, 'since it was noticed', event.replayed);
    // Both sides of one page come back, within moments: the later counts.
    showRecovery(performance.now() - outage.since, outage.note, replayed() - outage.replayed);
    const over = outage;
    setTimeout(() => outage === over && (outage = undefined), 1500);
}

function showRecovery(after, note, again) {
    const time = after < 10 ? 'less than 10 ms' : after < 1000 ? `${Math.round(after)} ms` : `${(after / 1000).toFixed(2)} s`;
    $('recovery').textContent = time.replace('less than', '<');
    $('recovery-note').textContent = note;
    $('recovery').classList.add('good');
    const told = again === 0 ? 'Nothing' : again === 1 ? '1 message was sent again, none' : `${again} messages were sent again, none`;
    tell(`The link is back after ${time}. ${told} is lost.`);
}

function replayed() {
    return Object.values(sides).reduce((total, side) => total + side.counts.replayed, 0);
}

// ---------------------------------------------------------------------------------------- the link

function begin(note) {
    outage = { since: performance.now(), note, replayed: replayed() };
}

$('cut').addEventListener('click', () => {
    if ($('hold').checked) return $('hold').click();
    $('cut').classList.remove('snip');
    void $('cut').offsetWidth;
    $('cut').classList.add('snip');
    begin('from the cut');
    cut();
    document.body.dataset.link = 'cut';
    tell('The link is cut. Type on: it comes back by itself.');
});

$('hold').addEventListener('change', () => {
    if ($('hold').checked) {
        outage = undefined;
        hold();
        tell('The link stays cut until you let it heal. Whatever you type waits.');
    } else {
        begin('from letting it heal');
        release();
        for (const side of here()) side.hurry();
    }
    showLink();
});

// --------------------------------------------------------------------------------------- typing

const LINES = [
    'The cable is out, and I am still typing.\n',
    'Every keystroke is a message with a number.\n',
    'None is lost, none comes twice, none overtakes.\n',
    'The session outlives its links.\n',
];
let typist;

function stopTyping() {
    clearInterval(typist?.timer);
    typist = undefined;
    $('auto').checked = false;
}

$('auto').addEventListener('change', () => {
    if (!$('auto').checked) return stopTyping();
    let at = 0;
    const text = LINES.join('');
    const timer = setInterval(() => {
        const side = sides.a.connected ? sides.a : sides.b;
        if (side.text.length > 1200) side.type('');
        side.type(text[at++ % text.length]);
    }, 45);
    typist = { id: 'a', timer };
});

// --------------------------------------------------------------------------------------- figures

function refresh() {
    const all = Object.values(sides).map((side) => side.refresh());
    const sum = (name) => all.reduce((total, counts) => total + counts[name], 0);
    const wrong = sum('lost') + sum('doubled');
    const links = Math.max(0, ...all.map((counts) => counts.links));
    const rtt = all.map((counts) => counts.rtt).find((rtt) => rtt !== undefined);
    $('replayed').textContent = sum('replayed').toLocaleString('en');
    $('wrong').textContent = wrong.toLocaleString('en');
    $('wrong').className = wrong ? 'bad' : sum('received') ? 'good' : '';
    $('received').textContent = `of ${sum('received').toLocaleString('en')} received`;
    $('links').textContent = links;
    $('rtt').textContent = rtt === undefined ? 'one session' : `round trip ${rtt < 10 ? rtt.toFixed(1) : Math.round(rtt)} ms`;
}

let told = 0;

function tell(news) {
    // A status that is changed twice at once is read once.
    clearTimeout(told);
    told = setTimeout(() => ($('news').textContent = news), 60);
}

// ---------------------------------------------------------------------------------- who is there

function trouble(error) {
    console.error(error);
    const hint = error?.hint ? ` ${error.hint}` : '';
    $('trouble').textContent = `${error?.message ?? error}${hint}`;
    $('trouble').hidden = false;
}

const hex = (bytes) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('');
const random = (length) => [...crypto.getRandomValues(new Uint8Array(length))];

/** The user of this browser, so that it takes one name at the server and not one for each tab. */
async function user() {
    const where = ['everlink-try', 'localStorage'];
    let [name, secret] = parsed(stored(...where)) ?? [];
    if (!/^try-[0-9a-f]{12}$/.test(name) || secret?.length !== 32) {
        [name, secret] = [`try-${hex(random(6))}`, random(32)];
        store(where[0], JSON.stringify([name, secret]), where[1]);
    }
    return { name, identity: await everlink.Identity.fromSecret(Uint8Array.from(secret)) };
}

/** The service of this tab, the same after a reload, so that its link stays good. */
function room() {
    let tab = stored('everlink-try-tab');
    if (!/^[0-9a-f]{8}$/.test(tab)) store('everlink-try-tab', (tab = hex(random(4))));
    return `try-${tab}@1.0.0`;
}

function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

async function startHost() {
    const side = makeSide('a', 'A', 'This side');
    const { name, identity } = await user();
    host = await everlink.Client.create({ signaling: SIGNALING, identity });
    service = await host.exposeService({ user: name, service: room(), ...OPTIONS });
    void (async () => {
        for await (const connection of service) {
            if (document.body.dataset.mode === 'host') {
                $('invite').classList.add('met');
                $('how').textContent = 'It is here. Type on either, and cut the link while you do.';
            }
            void side.attach(connection);
        }
    })().catch(trouble);
    void (async () => {
        for await (const event of service.events()) {
            // A duplicated tab begins with what this one kept.
            if (event.type === 'displaced') trouble('This tab was duplicated, and the newer one has the link now. Reload this one to take it back.');
        }
    })().catch(trouble);
}

async function startGuest(id, letter, name, uuid) {
    const side = sides[id] ?? makeSide(id, letter, name);
    guest = await everlink.Client.create({ signaling: SIGNALING });
    void side.attach(guest.connectLazy({ uuid }, OPTIONS));
}

async function endGuest() {
    const client = guest;
    guest = undefined;
    await sides.b?.leave();
    await client?.shutdown();
}

function showInvite() {
    const url = new URL(location.href);
    url.hash = service.uuid;
    $('url').value = url.href;
    const code = drawn(url.href, 'QR code of the link');
    $('code').replaceChildren(...(code ? [code] : []));
    $('caution').hidden = !/^(localhost|127\.|\[::1\])/.test(url.hostname);
}

let changing = Promise.resolve();

function choose(mode) {
    document.querySelector(`[name="mode"][value="${mode}"]`).checked = true;
    changeMode(mode);
}

function changeMode(mode) {
    document.body.dataset.mode = mode;
    store('everlink-try-mode', mode);
    $('b').hidden = mode !== 'two';
    $('invite').hidden = mode !== 'host';
    if ($('hold').checked) $('hold').click();
    changing = changing
        .then(async () => {
            if (mode === 'host') {
                showInvite();
                await endGuest();
            } else {
                await startGuest('b', 'B', 'The other side', service.uuid);
            }
        })
        .catch(trouble);
}

for (const choice of document.getElementsByName('mode')) {
    choice.addEventListener('change', () => changeMode(choice.value));
}

$('copy').addEventListener('click', async () => {
    $('url').select();
    try {
        await navigator.clipboard.writeText($('url').value);
        tell('The link is copied.');
    } catch {
        tell('The link is selected: copy it with your keyboard.');
    }
});

async function start() {
    if (typeof RTCPeerConnection === 'undefined') {
        throw new Error('This browser has no WebRTC, or it is switched off: try another, such as Firefox, Chromium or Safari.');
    }
    everlink = await import('./lib/index.js');
    await everlink.load(new URL('./lib/everlink_bg.wasm', import.meta.url));
    const uuid = location.hash.slice(1).toLowerCase();
    setInterval(refresh, 250);
    if (uuid) {
        if (!UUID.test(uuid)) throw new Error('This link is not complete: after the # there must be the name of a room.');
        document.body.dataset.mode = 'guest';
        $('modes').hidden = true;
        $('b').hidden = true;
        $('far').hidden = false;
        $('lede').textContent = 'You are the other side. Type here and see it there; cut the link on either, and lose nothing.';
        await startGuest('a', 'B', 'This side', uuid);
        return;
    }
    makeSide('b', 'B', 'The other side');
    await startHost();
    choose(stored('everlink-try-mode') === 'host' ? 'host' : 'two');
}

addEventListener('hashchange', () => location.reload());

start().catch(trouble);
