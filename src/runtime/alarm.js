// Timers.

/** A browser takes a longer timeout for none at all. In milliseconds. */
const LONGEST = 2 ** 31 - 1;

export class Alarm {
    #timer;

    constructor(after) {
        this.rung = new Promise((ring) => {
            const wait = (rest) => {
                this.#timer = setTimeout(() => (rest > LONGEST ? wait(rest - LONGEST) : ring()), Math.min(rest, LONGEST));
            };
            wait(after);
        });
    }

    stop() {
        clearTimeout(this.#timer);
    }
}
