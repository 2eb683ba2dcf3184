// Requests by the `fetch` of a browser or of Node.

/** The protocol of an URL, who is named in it, and all of it, apart by spaces, which it has none of; or undefined if it is none. */
export function address(text) {
    try {
        const { protocol, username, password, href } = new URL(text);
        return [protocol, username + password, href].join(' ');
    } catch {
        return undefined;
    }
}

/** A request, until it is ended. */
export class Exchange {
    #abort = new AbortController();
    #reader;

    /** Rejects where no answer begins. A browser does not say whether the server was away or did not allow the page. */
    async send(method, url, headers, body) {
        if (!globalThis.fetch) throw 'there is no fetch where this runs';
        const response = await fetch(url, {
            method,
            headers: Object.fromEntries(headers),
            body,
            cache: 'no-store',
            credentials: 'omit',
            // A signature covers the path: elsewhere it is worth nothing.
            redirect: 'manual',
            referrerPolicy: 'no-referrer',
            signal: this.#abort.signal,
        });
        // Absent where there is nothing to read.
        this.#reader = response.body?.getReader();
        const { status, statusText } = response;
        this.status = status;
        // A redirection that is not followed tells a page nothing.
        this.statusText = status ? `${status} ${statusText}`.trimEnd() : 'a redirection';
        this.header = (name) => response.headers.get(name);
    }

    /** The next piece of the body, or undefined at its end. */
    async read() {
        return (await this.#reader?.read())?.value;
    }

    end() {
        this.#abort.abort();
    }
}
