// One side: its pane, and the connection that it has at the time.

import { MAX_TEXT, Talk } from './talk.js';

const WORDS = {
    waiting: 'Waiting',
    live: 'Live',
    cut: 'Cut',
    ended: 'Ended',
};

/** What this tab has kept (or, of `localStorage`, this browser), if it may keep anything. */
export function stored(key, where = 'sessionStorage') {
    try {
        return globalThis[where].getItem(key);
    } catch {
        return null;
    }
}

export function store(key, value, where = 'sessionStorage') {
    try {
        globalThis[where].setItem(key, value);
    } catch {
        // Then a reload forgets it.
    }
}

export class Side {
    #root;
    #mine;
    #theirs;
    #state;
    #talk;
    #connection;
    #told;
    /** A message came, an event happened, the user typed. */
    #hooks;
    /** What earlier connections of this side counted. */
    #past = { sent: 0, received: 0, lost: 0, doubled: 0, replayed: 0, links: 0 };
    #were = {};
    #saved = '';
    #key;

    constructor(root, letter, name, hooks) {
        this.#root = root;
        this.#hooks = hooks;
        root.replaceChildren(document.getElementById('pane').content.cloneNode(true));
        root.querySelector('.name b').textContent = letter;
        root.querySelector('.name span').textContent = name;
        root.setAttribute('aria-label', `Side ${letter}`);
        this.#mine = root.querySelector('.mine');
        this.#theirs = root.querySelector('.theirs');
        this.#state = root.querySelector('.state');
        // A reload of the page keeps what was written.
        this.#key = `everlink-try-${letter}`;
        this.#mine.value = this.#saved = stored(this.#key) ?? '';
        this.#mine.addEventListener('input', () => {
            hooks.typed();
            this.#say();
        });
        this.#show('waiting');
    }

    /** Talks over this connection from now on, until it ends. */
    async attach(connection) {
        const before = this.#connection;
        this.#retire();
        this.#connection = connection;
        const talk = new Talk(connection.openChannel('text', { queue: 'lossless' }), this.#mine.value);
        this.#talk = talk;
        // Whoever came later stays.
        before?.close();
        void this.#follow(connection);
        await talk.listen(() => {
            if (this.#talk !== talk) return;
            this.#hooks.heard();
            this.#read();
        });
    }

    /** Ends what there is. */
    async leave() {
        const connection = this.#connection;
        this.#retire();
        this.#connection = undefined;
        this.#show('waiting');
        await connection?.close();
    }

    /** Looks for a new link now. */
    hurry() {
        this.#connection?.reconnectNow();
    }

    /** Writes what a person might. */
    type(text) {
        const mine = this.#mine;
        mine.value = text === '' ? '' : (mine.value + text).slice(-MAX_TEXT);
        mine.scrollTop = mine.scrollHeight;
        this.#say();
    }

    get text() {
        return this.#mine.value;
    }

    get state() {
        return this.#told;
    }

    get connected() {
        return this.#connection !== undefined;
    }

    /** Counts of all connections of this side. */
    get counts() {
        const now = { ...this.#talk?.counts };
        try {
            const stats = this.#connection?.stats;
            if (stats) Object.assign(now, { replayed: stats.replayed, links: this.#linked ? stats.reconnects + 1 : 0, rtt: stats.rtt });
        } catch {
            // It is being taken down.
        }
        this.#were = now;
        const sum = { rtt: now.rtt, waiting: this.#talk?.waiting ?? 0 };
        for (const [name, count] of Object.entries(this.#past)) sum[name] = count + (now[name] ?? 0);
        return sum;
    }

    /** Shows its counts. */
    refresh() {
        if (this.#mine.value !== this.#saved) store(this.#key, (this.#saved = this.#mine.value));
        const counts = this.counts;
        const put = (name, value) => (this.#root.querySelector(name).textContent = value.toLocaleString('en'));
        put('.sent', counts.sent);
        put('.got', counts.received);
        put('.again', counts.replayed);
        put('.left', counts.waiting);
        // One or two are always on their way while somebody types.
        this.#root.querySelector('.queue').classList.toggle('some', counts.waiting > 0 && this.#told === 'cut');
        return counts;
    }

    #linked = false;

    #retire() {
        void this.counts;
        for (const name of Object.keys(this.#past)) this.#past[name] += this.#were[name] ?? 0;
        this.#were = {};
        this.#talk = undefined;
        this.#linked = false;
    }

    #say() {
        if (!this.#talk) return;
        this.#talk.write(this.#mine.value);
        this.#hooks.said();
    }

    #read() {
        const field = this.#theirs;
        if (field.value === this.#talk.theirs) return;
        field.value = this.#talk.theirs;
        field.scrollTop = field.scrollHeight;
    }

    /** Shows what came after an outage. */
    #flash() {
        this.#theirs.classList.remove('fresh');
        void this.#theirs.offsetWidth;
        this.#theirs.classList.add('fresh');
    }

    async #follow(connection) {
        void this.#states(connection);
        for await (const event of connection.events()) {
            if (this.#connection !== connection) return;
            if (event.type === 'connected' && event.resumed) this.#flash();
            if (event.type === 'session-lost') this.#talk?.ask();
            this.#hooks.event(event);
        }
    }

    async #states(connection) {
        for await (const state of connection.states()) {
            if (this.#connection !== connection) return;
            if (state.type === 'connected') this.#linked = true;
            const known = { connecting: 'waiting', connected: 'live', reconnecting: 'cut', closed: 'ended' };
            this.#show(known[state.type] ?? 'waiting', state.reason?.message);
            if (state.type === 'closed' && this.#hooks.closed(state.reason)) await this.leave();
        }
    }

    #show(is, why) {
        this.#told = is;
        this.#state.dataset.is = is;
        this.#state.textContent = WORDS[is];
        this.#state.title = why ?? '';
        this.#hooks.state(is, why);
    }
}
