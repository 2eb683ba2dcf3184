// The peer connection of one link and its channels. What is reported is told, and what it means is decided, in `peer.rs`.

// As `Reports::handle` in `peer.rs` has them. From LOSSY on it is the number of a lossy stream, plus that.
const [CANDIDATE, PATH, CONNECTION, BREACH, OPEN, FRAME, ROOM, CLOSED, LOSSY] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
/** Bytes of one lossy stream that may wait in the browser: what is late anyway is better dropped. */
const MAX_LOSSY_BYTES = 256 * 1024;

const encoder = new TextEncoder();
/** The bytes of a message. Text, which no everlink sends, counts as its bytes. */
const bytes = (data) => (typeof data === 'string' ? encoder.encode(data) : new Uint8Array(data));

/** Gives what undoes it. */
function listen(target, type, heard) {
    target.addEventListener(type, heard);
    return () => target.removeEventListener(type, heard);
}

export const isSupported = () => !!globalThis.RTCPeerConnection;

/** Tells when the page is left (0) and shown again (1), until it is aborted. A worker, and Node, have no such events. */
export function watchPage(tell) {
    const watch = new AbortController();
    const { signal } = watch;
    ['pagehide', 'pageshow'].forEach((event, shown) => globalThis.addEventListener?.(event, () => tell(shown), { signal }));
    return watch;
}

export function addServer(servers, urls, username, credential) {
    servers.push(username || credential ? { urls, username, credential } : { urls });
}

export class Peer {
    #pc;
    #tell;
    /** By number: the channel, and what ends the listening to it. */
    #lossy = new Map();
    /** What is heard, to be undone. */
    #heard = [];
    /** Called with what may end the waiting for candidates: whether they are all there, or one. */
    #gathering = () => {};
    #candidates = 0;

    /** `tell(report, value)` hears everything from the beginning, as a message may come with the opening, up to `close`. */
    constructor(iceServers, relayOnly, label, low, tell) {
        this.#tell = tell;
        const pc = new RTCPeerConnection({ iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all' });
        this.#pc = pc;
        try {
            const [channel, undo] = this.#open(label, 0, { ordered: true }, FRAME);
            channel.bufferedAmountLowThreshold = low;
            this.channel = channel;
            this.#heard.push(undo);
        } catch (error) {
            pc.close();
            throw error;
        }
        const on = this.#on.bind(this);
        on(pc, 'icecandidate', ({ candidate }) => {
            // Without one, or with an empty one, it is the end of them.
            if (!candidate?.candidate) return;
            this.#candidates++;
            this.#tell(CANDIDATE, candidate.candidate);
            this.#gathering(false);
        });
        on(pc, 'icegatheringstatechange', () => this.#gathering(pc.iceGatheringState === 'complete'));
        on(pc, 'iceconnectionstatechange', () => this.#tell(PATH, pc.iceConnectionState));
        on(pc, 'connectionstatechange', () => {
            this.#tell(CONNECTION, pc.connectionState);
            this.#gathering(/failed|closed/.test(pc.connectionState));
        });
        on(pc, 'datachannel', () => this.#tell(BREACH));
        on(this.channel, 'open', () => this.#tell(OPEN));
        on(this.channel, 'bufferedamountlow', () => this.#tell(ROOM));
        on(this.channel, 'close', () => this.#tell(CLOSED));
    }

    #on(target, type, heard) {
        this.#heard.push(listen(target, type, heard));
    }

    /** A channel that both ends know by its number, and what ends the listening to it. */
    #open(label, id, init, report) {
        const channel = this.#pc.createDataChannel(label, { negotiated: true, id, ...init });
        channel.binaryType = 'arraybuffer';
        return [channel, listen(channel, 'message', ({ data }) => this.#tell(report, bytes(data)))];
    }

    /** Takes an offer; gives the answer, for `describe`. */
    async answer(sdp) {
        await this.take('offer', sdp);
        return this.#pc.createAnswer();
    }

    take(type, sdp) {
        return this.#pc.setRemoteDescription({ type, sdp });
    }

    /**
     * The description of this end, an offer unless one is given, with the candidates that were found within `patience`.
     * Servers may take their time; what they tell follows. The other end waits for an answer, so that goes `pause` after
     * the first few: Chromium takes 0.1 s more for those of TCP alone.
     */
    async describe(answer, patience, pause) {
        const pc = this.#pc;
        await pc.setLocalDescription(answer ?? (await pc.createOffer()));
        await new Promise((resolve) => {
            const last = setTimeout(resolve, patience);
            let next;
            this.#gathering = (all) => {
                clearTimeout(next);
                if (all) resolve(clearTimeout(last));
                else if (answer) next = setTimeout(resolve, pause);
            };
            if (pc.iceGatheringState === 'complete') this.#gathering(true);
            else if (this.#candidates) this.#gathering(false);
        });
        this.#gathering = () => {};
        return pc.localDescription?.sdp;
    }

    addCandidate(candidate, sdpMid) {
        return this.#pc.addIceCandidate({ candidate, sdpMid, sdpMLineIndex: 0 });
    }

    /** Its messages are lost where it cannot be opened, as they may be. */
    openLossy(id, ordered, maxRetransmits) {
        if (/connecting|open/.test(this.#lossy.get(id)?.[0].readyState)) return;
        this.closeLossy(id);
        try {
            this.#lossy.set(id, this.#open('everlink/lossy', id, { ordered, maxRetransmits }, LOSSY + id));
        } catch {}
    }

    sendLossy(id, data) {
        const channel = this.#lossy.get(id)?.[0];
        if (channel?.readyState !== 'open' || channel.bufferedAmount >= MAX_LOSSY_BYTES) return;
        try {
            channel.send(data);
        } catch {}
    }

    closeLossy(id) {
        const [channel, undo] = this.#lossy.get(id) ?? [];
        // A stream that is over must not speak for the next one of its number, nor be kept as long as the link.
        undo?.();
        channel?.close();
        this.#lossy.delete(id);
    }

    close() {
        // First, as closing tells of itself.
        for (const undo of this.#heard.splice(0)) undo();
        this.#gathering(true);
        for (const id of this.#lossy.keys()) this.closeLossy(id);
        this.channel.close();
        this.#pc.close();
    }
}
