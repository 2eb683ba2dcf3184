/**
 * WebRTC for workers, which have none of their own: the page makes the peer connections, and the worker uses them
 * through a port as if they were its own.
 *
 * ```js
 * // In the page.
 * import { serveWebRtc } from 'everlink/bridge';
 * const port = serveWebRtc();
 * worker.postMessage({ webrtc: port }, [port]);
 *
 * // In the worker, before `Client.create`.
 * import { installWebRtc } from 'everlink/bridge';
 * installWebRtc(event.data.webrtc);
 * ```
 *
 * @packageDocumentation
 */

/** From the worker. `pc` and `channel` number what the message is about. */
type Ask =
    | { pc: number; ask: 'new'; config: RTCConfiguration }
    | { pc: number; ask: 'call'; call: number; method: Method; arg: unknown }
    | { pc: number; ask: 'open'; channel: number; label: string; init: RTCDataChannelInit }
    | { pc: number; ask: 'threshold'; channel: number; bytes: number }
    | { pc: number; ask: 'send'; channel: number; data: ArrayBuffer | string }
    | { pc: number; ask: 'close'; channel?: number };

type Method =
    | 'createOffer' | 'createAnswer' | 'setLocalDescription' | 'setRemoteDescription' | 'addIceCandidate' | 'restartIce';

/** From the page. */
type Tell =
    | { pc: number; tell: 'done'; call: number; value?: unknown; error?: { name: string; message: string } }
    | { pc: number; tell: 'event'; type: string; state: State; candidate?: RTCIceCandidateInit | null }
    | {
          pc: number; tell: 'channel'; channel: number; type: string; readyState: RTCDataChannelState;
          buffered: number; taken: number; data?: unknown;
      };

interface State {
    localDescription: RTCSessionDescriptionInit | null;
    iceGatheringState: string;
    iceConnectionState: string;
    connectionState: string;
    signalingState: string;
}

/**
 * In the page: makes peer connections for whoever has the port that this returns, to be transferred to a worker. They end
 * when `signal` aborts, or the page does; a worker that is terminated cannot say so, so abort then.
 */
export function serveWebRtc({ signal }: { signal?: AbortSignal } = {}): MessagePort {
    const { port1: port, port2: theirs } = new MessageChannel();
    const peers = new Map<number, Served>();
    const tell = (message: Tell) => port.postMessage(message);
    port.onmessage = ({ data }: MessageEvent<Ask>) => {
        if (data.ask === 'new') {
            peers.set(data.pc, new Served(data.pc, data.config, tell));
            return;
        }
        peers.get(data.pc)?.handle(data);
        if (data.ask === 'close' && data.channel === undefined) peers.delete(data.pc);
    };
    // Whoever is at the other end of them shall hear at once that the page is left. If it is shown again, the worker does.
    const on = (type: string, heard: () => void) => globalThis.addEventListener?.(type, heard, signal && { signal });
    on('pagehide', () => {
        for (const peer of peers.values()) peer.pc.close();
    });
    on('pageshow', () => {
        for (const peer of peers.values()) peer.tellState();
    });
    signal?.addEventListener('abort', () => {
        for (const peer of peers.values()) peer.pc.close();
        peers.clear();
        port.close();
    });
    return theirs;
}

/** One peer connection in the page. */
class Served {
    readonly pc: RTCPeerConnection;
    readonly #channels = new Map<number, { channel: RTCDataChannel; taken: number }>();

    constructor(readonly id: number, config: RTCConfiguration, readonly tell: (message: Tell) => void) {
        this.pc = new RTCPeerConnection(config);
        for (const type of [
            'icegatheringstatechange', 'iceconnectionstatechange', 'connectionstatechange', 'signalingstatechange',
            'datachannel',
        ]) {
            this.pc.addEventListener(type, () => this.#event(type));
        }
        this.pc.addEventListener('icecandidate', ({ candidate }) => {
            this.#event('icecandidate', candidate && candidate.toJSON());
        });
    }

    #state(): State {
        const { localDescription, iceGatheringState, iceConnectionState, connectionState, signalingState } = this.pc;
        const local = localDescription && { type: localDescription.type, sdp: localDescription.sdp };
        return { localDescription: local, iceGatheringState, iceConnectionState, connectionState, signalingState };
    }

    /** Of itself a peer connection does not say that it was closed by its own page. */
    tellState(): void {
        this.#event('connectionstatechange');
    }

    #event(type: string, candidate?: RTCIceCandidateInit | null): void {
        const message: Tell = { pc: this.id, tell: 'event', type, state: this.#state() };
        this.tell(candidate === undefined ? message : { ...message, candidate });
    }

    handle(ask: Exclude<Ask, { ask: 'new' }>): void {
        switch (ask.ask) {
            case 'call':
                void this.#call(ask.call, ask.method, ask.arg);
                break;
            case 'open':
                this.#open(ask.channel, ask.label, ask.init);
                break;
            case 'threshold': {
                const open = this.#channels.get(ask.channel);
                if (open) open.channel.bufferedAmountLowThreshold = ask.bytes;
                break;
            }
            case 'send': {
                const open = this.#channels.get(ask.channel);
                if (!open) break;
                open.taken += size(ask.data);
                try {
                    open.channel.send(ask.data as ArrayBuffer);
                } catch {
                    // It ended meanwhile, which its own event tells.
                }
                this.#channel(ask.channel, 'taken');
                break;
            }
            case 'close':
                if (ask.channel === undefined) this.pc.close();
                else this.#channels.get(ask.channel)?.channel.close();
        }
    }

    async #call(call: number, method: Method, arg: unknown): Promise<void> {
        try {
            const value: unknown = await (this.pc[method] as (arg: unknown) => unknown)(arg);
            this.#event('');
            const description = value as RTCSessionDescriptionInit | undefined;
            this.tell({
                pc: this.id, tell: 'done', call,
                value: description && { type: description.type, sdp: description.sdp },
            });
        } catch (error) {
            const { name, message } = error as Error;
            this.tell({ pc: this.id, tell: 'done', call, error: { name, message } });
        }
    }

    #open(id: number, label: string, init: RTCDataChannelInit): void {
        const channel = this.pc.createDataChannel(label, init);
        channel.binaryType = 'arraybuffer';
        this.#channels.set(id, { channel, taken: 0 });
        for (const type of ['open', 'close', 'error', 'bufferedamountlow']) {
            channel.addEventListener(type, () => this.#channel(id, type));
        }
        channel.addEventListener('message', ({ data }) => this.#channel(id, 'message', data));
    }

    #channel(id: number, type: string, data?: unknown): void {
        const { channel, taken } = this.#channels.get(id)!;
        const { readyState, bufferedAmount: buffered } = channel;
        this.tell({ pc: this.id, tell: 'channel', channel: id, type, readyState, buffered, taken, data });
    }
}

function size(data: ArrayBuffer | string): number {
    // Text counts as UTF-8 where it matters; this is for flow control only.
    return typeof data === 'string' ? data.length : data.byteLength;
}

/** In the worker: puts an `RTCPeerConnection` in place that uses those of the page at the other end of `port`. */
export function installWebRtc(port: MessagePort): void {
    const peers = new Map<number, BridgedPeerConnection>();
    let count = 0;
    port.onmessage = ({ data }: MessageEvent<Tell>) => peers.get(data.pc)?.handle(data);
    class Bridged extends BridgedPeerConnection {
        constructor(config: RTCConfiguration = {}) {
            super(++count, (ask, transfer = []) => port.postMessage(ask, transfer), (id) => peers.delete(id));
            peers.set(this.id, this);
            this.ask({ pc: this.id, ask: 'new', config });
        }
    }
    Object.defineProperty(globalThis, 'RTCPeerConnection', { value: Bridged, configurable: true, writable: true });
}

class BridgedPeerConnection extends EventTarget {
    localDescription: RTCSessionDescriptionInit | null = null;
    iceGatheringState = 'new';
    iceConnectionState = 'new';
    connectionState = 'new';
    signalingState = 'stable';
    #calls = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
    #channels = new Map<number, BridgedDataChannel>();
    #count = 0;

    constructor(
        readonly id: number,
        readonly ask: (ask: Ask, transfer?: Transferable[]) => void,
        readonly gone: (id: number) => void,
    ) {
        super();
    }

    #call(method: Method, arg?: unknown): Promise<unknown> {
        if (this.signalingState === 'closed') {
            return Promise.reject(new DOMException('the peer connection is closed', 'InvalidStateError'));
        }
        const call = ++this.#count;
        return new Promise((resolve, reject) => {
            this.#calls.set(call, { resolve, reject });
            this.ask({ pc: this.id, ask: 'call', call, method, arg });
        });
    }

    createOffer(options?: unknown) {
        return this.#call('createOffer', options);
    }
    createAnswer(options?: unknown) {
        return this.#call('createAnswer', options);
    }
    setLocalDescription(description?: unknown) {
        return this.#call('setLocalDescription', description);
    }
    setRemoteDescription(description: unknown) {
        return this.#call('setRemoteDescription', description);
    }
    addIceCandidate(candidate?: unknown) {
        return this.#call('addIceCandidate', candidate);
    }
    restartIce(): void {
        void this.#call('restartIce');
    }

    createDataChannel(label: string, init: RTCDataChannelInit = {}): BridgedDataChannel {
        const id = ++this.#count;
        const channel = new BridgedDataChannel(label, init, (ask, transfer) => {
            this.ask({ pc: this.id, channel: id, ...ask } as Ask, transfer);
        });
        this.#channels.set(id, channel);
        this.ask({ pc: this.id, ask: 'open', channel: id, label, init });
        return channel;
    }

    close(): void {
        if (this.signalingState === 'closed') return;
        this.signalingState = this.connectionState = this.iceConnectionState = 'closed';
        for (const channel of this.#channels.values()) channel.readyState = 'closed';
        const closed = new DOMException('the peer connection was closed', 'InvalidStateError');
        for (const { reject } of this.#calls.values()) reject(closed);
        this.#calls.clear();
        this.ask({ pc: this.id, ask: 'close' });
        this.gone(this.id);
    }

    handle(tell: Tell): void {
        switch (tell.tell) {
            case 'done': {
                const call = this.#calls.get(tell.call);
                this.#calls.delete(tell.call);
                if (tell.error) call?.reject(new DOMException(tell.error.message, tell.error.name));
                else call?.resolve(tell.value);
                break;
            }
            case 'event': {
                Object.assign(this, tell.state);
                if (!tell.type) break;
                this.dispatchEvent(Object.assign(new Event(tell.type), { candidate: tell.candidate }));
                break;
            }
            case 'channel':
                this.#channels.get(tell.channel)?.handle(tell);
        }
    }
}

class BridgedDataChannel extends EventTarget {
    readyState: RTCDataChannelState = 'connecting';
    binaryType = 'arraybuffer';
    readonly id: number | null;
    #threshold = 0;
    #sent = 0;
    #taken = 0;
    #buffered = 0;

    constructor(
        readonly label: string,
        init: RTCDataChannelInit,
        readonly ask: (ask: object, transfer?: Transferable[]) => void,
    ) {
        super();
        this.id = init.id ?? null;
    }

    /** What the page has not handed to the network yet, what is on its way to the page included. */
    get bufferedAmount(): number {
        return this.#buffered + this.#sent - this.#taken;
    }

    get bufferedAmountLowThreshold(): number {
        return this.#threshold;
    }
    set bufferedAmountLowThreshold(bytes: number) {
        this.#threshold = bytes;
        this.ask({ ask: 'threshold', bytes });
    }

    send(data: string | ArrayBuffer | ArrayBufferView): void {
        if (this.readyState !== 'open') throw new DOMException('the channel is not open', 'InvalidStateError');
        if (typeof data === 'string') {
            this.#sent += size(data);
            this.ask({ ask: 'send', data });
            return;
        }
        const view = ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
        // A copy of its own, so that it can be moved to the page.
        const { buffer } = view.slice();
        this.#sent += buffer.byteLength;
        this.ask({ ask: 'send', data: buffer }, [buffer]);
    }

    close(): void {
        if (this.readyState === 'closed' || this.readyState === 'closing') return;
        this.readyState = 'closing';
        this.ask({ ask: 'close' });
    }

    handle(tell: Extract<Tell, { tell: 'channel' }>): void {
        const before = this.bufferedAmount;
        this.readyState = tell.readyState;
        this.#buffered = tell.buffered;
        this.#taken = tell.taken;
        if (tell.type === 'message') {
            this.dispatchEvent(new MessageEvent('message', { data: tell.data }));
        } else if (tell.type !== 'taken' && tell.type !== 'bufferedamountlow') {
            this.dispatchEvent(new Event(tell.type));
        }
        if (before > this.#threshold && this.bufferedAmount <= this.#threshold) {
            this.dispatchEvent(new Event('bufferedamountlow'));
        }
    }
}
