// Cuts the links of this page as a pulled cable does: packets vanish both ways, and nobody is told.
//
// The browser gives no way to do that, so this stands between the page and its data channels. What was cut stays
// dead, as a link with holes in it must not come back. While `hold`ing, new links are made but carry nothing: what
// they were to carry waits, and goes on its way with `release`. Import it before anything makes a peer connection.

const Native = globalThis.RTCPeerConnection;
const alive = new Set();
const frozen = new Set();
let holding = false;

if (Native) {
    globalThis.RTCPeerConnection = class extends Native {
        createDataChannel(...args) {
            const channel = super.createDataChannel(...args);
            watch(channel);
            return channel;
        }
    };
}

function watch(channel) {
    const link = { channel, state: holding ? 'frozen' : 'alive', out: [], in: [] };
    (holding ? frozen : alive).add(link);
    const send = channel.send.bind(channel);
    channel.send = (data) => {
        if (link.state === 'alive') send(data);
        // A copy: its owner may use the memory again.
        else if (link.state === 'frozen') link.out.push(data.slice());
    };
    // The first listener, so that it decides what the others hear.
    channel.addEventListener('message', (event) => {
        if (link.state === 'alive') return;
        if (link.state === 'frozen') link.in.push(event.data);
        event.stopImmediatePropagation();
    });
    channel.addEventListener('close', () => {
        link.state = 'dead';
        alive.delete(link);
        frozen.delete(link);
    });
    link.thaw = () => {
        if (link.state !== 'frozen') return;
        link.state = 'alive';
        alive.add(link);
        for (const data of link.in.splice(0)) channel.dispatchEvent(new MessageEvent('message', { data }));
        for (const data of link.out.splice(0)) if (channel.readyState === 'open') send(data);
    };
}

/** Cuts every link of this page. Those that are being made are none yet. */
export function cut() {
    for (const link of alive) {
        if (link.channel.readyState === 'connecting') continue;
        link.state = 'dead';
        alive.delete(link);
    }
}

/** Cuts every link, and those that are made from now on carry nothing. */
export function hold() {
    holding = true;
    cut();
    for (const link of alive) {
        link.state = 'frozen';
        frozen.add(link);
    }
    alive.clear();
}

/** What was made meanwhile goes on. */
export function release() {
    holding = false;
    const links = [...frozen];
    frozen.clear();
    for (const link of links) link.thaw();
}
