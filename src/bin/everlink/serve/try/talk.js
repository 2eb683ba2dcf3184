// What the two sides say to each other: every keystroke is one numbered message, so that one lost, doubled or out of
// its order would show.

/** The longest text that either side may write. */
export const MAX_TEXT = 4000;

/** The change from one text to another. */
function change(from, to) {
    const least = Math.min(from.length, to.length);
    let at = 0;
    while (at < least && from[at] === to[at]) at++;
    let tail = 0;
    while (tail < least - at && from[from.length - 1 - tail] === to[to.length - 1 - tail]) tail++;
    return { at, del: from.length - at - tail, ins: to.slice(at, to.length - tail) };
}

const whole = (value, most) => Number.isInteger(value) && value >= 0 && value <= most;

export class Talk {
    #channel;
    #mine;
    #next = 1;
    #expected;
    /** What the other side has written, as far as it is known here. */
    theirs = '';
    /** Of keystrokes. */
    counts = { sent: 0, received: 0, lost: 0, doubled: 0 };

    /** Begins with what was written before there was anybody. */
    constructor(channel, mine) {
        this.#channel = channel;
        this.#mine = mine;
        this.ask();
    }

    /** Says it all, and asks the other side to do so: one of them may have forgotten. */
    ask() {
        this.#send({ text: this.#mine, ask: true });
    }

    /** Says what has changed. */
    write(text) {
        const op = change(this.#mine, text);
        this.#mine = text;
        if (!op.del && !op.ins) return;
        this.counts.sent++;
        this.#send(op);
    }

    #send(message) {
        // Who closed the connection is told by the connection.
        this.#channel.send(JSON.stringify({ n: this.#next++, ...message })).catch(() => {});
    }

    /** Hears the other side until the end; calls back after each message. */
    async listen(heard) {
        try {
            for await (const message of this.#channel) {
                this.#hear(message);
                heard();
            }
        } catch {
            // The end of the connection, which the connection tells.
        }
    }

    /** The waiting messages of this side. */
    get waiting() {
        return this.#channel.buffered.messages;
    }

    #hear(message) {
        let said;
        try {
            said = JSON.parse(message);
        } catch {
            return;
        }
        if (!whole(said?.n, Number.MAX_SAFE_INTEGER)) return;
        if (typeof said.text === 'string') {
            this.theirs = said.text.slice(0, MAX_TEXT);
            if (said.ask === true) this.#send({ text: this.#mine });
        } else {
            if (this.#expected === undefined) return;
            if (said.n < this.#expected) {
                this.counts.doubled++;
                return;
            }
            this.counts.lost += said.n - this.#expected;
            const { at, del, ins } = said;
            if (whole(at, MAX_TEXT) && whole(del, MAX_TEXT) && typeof ins === 'string') {
                this.theirs = (this.theirs.slice(0, at) + ins + this.theirs.slice(at + del)).slice(0, MAX_TEXT);
            }
            this.counts.received++;
        }
        this.#expected = said.n + 1;
    }
}
