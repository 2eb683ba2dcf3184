// Timers.

/** A browser takes a longer timeout for none at all. In milliseconds. */
const LONGEST = 2 ** 31 - 1;

/** Calls `ring` after so many milliseconds, unless it is stopped. */
export class Alarm {
    #timer;

    constructor(after, ring) {
        const wait = (rest) => {
            this.#timer = setTimeout(() => (rest > LONGEST ? wait(rest - LONGEST) : ring(0)), Math.min(rest, LONGEST));
        };
        wait(after);
    }

    stop() {
        clearTimeout(this.#timer);
    }
}
