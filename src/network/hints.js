// What a page hears of the network, and of being stopped or seen. What the host does not tell, such as Node, is not heard.

// As `web.rs` has them.
const [NETWORK, SEEN, THAWED, VISIBLE] = [1, 2, 4, 8];
/** News of the network that are this close together are one change, in milliseconds. */
const PAUSE = 150;

const isHidden = () => globalThis.document?.visibilityState === 'hidden';

export class Hints {
    #told = 0;
    /** The browser stopped the page. */
    #frozen = 0;
    #heard;
    #timer;
    #listening = new AbortController();

    constructor() {
        const { document, navigator: { connection } = {} } = globalThis;
        const on = (target, event, hint) =>
            target?.addEventListener?.(event, () => this.#tell(hint()), { signal: this.#listening.signal });
        on(globalThis, 'online', () => NETWORK);
        on(globalThis, 'offline', () => NETWORK);
        // It also tells of every other guess at the speed.
        let type = connection?.type;
        on(connection, 'change', () => (type === (type = connection.type) ? 0 : NETWORK));
        on(globalThis, 'pageshow', () => SEEN);
        on(document, 'visibilitychange', () => (isHidden() ? 0 : SEEN));
        on(document, 'freeze', () => {
            this.#frozen = THAWED;
            return 0;
        });
        on(document, 'resume', () => {
            const hint = SEEN | this.#frozen;
            this.#frozen = 0;
            return hint;
        });
    }

    #tell(hint) {
        this.#told |= hint;
        if (hint === NETWORK) setTimeout(() => this.#told && this.#heard?.(), PAUSE);
        else if (hint) this.#heard?.();
    }

    /** Resolves when something is heard, and after so many milliseconds. */
    wait(within) {
        clearTimeout(this.#timer);
        return new Promise((heard) => {
            this.#heard = heard;
            this.#timer = setTimeout(heard, within);
        });
    }

    /** What was heard since it was taken last, and whether the page can be seen. */
    take() {
        const told = this.#told;
        this.#told = 0;
        return told | (isHidden() ? 0 : VISIBLE);
    }

    /** Whoever waits is told: what waits for a promise is kept until it is settled. */
    end() {
        clearTimeout(this.#timer);
        this.#listening.abort();
        this.#heard?.();
    }
}
