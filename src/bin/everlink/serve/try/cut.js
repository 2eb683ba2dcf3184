// Cuts the links of this page as a pulled cable does: packets vanish both ways, and nobody is told.
//
// The browser gives no way to do that, so this stands between the page and its data channels. What was cut stays
// dead, as a link with holes in it must not come back. Import it before anything makes a peer connection.

const Native = globalThis.RTCPeerConnection;
/** Channels with a word about each: whether it carries anything. */
const links = new Set();
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
    const link = { channel, dead: false };
    links.add(link);
    const send = channel.send.bind(channel);
    channel.send = (data) => {
        if (!link.dead) send(data);
    };
    // The first listeners, so that they decide what the others hear.
    channel.addEventListener('open', () => (link.dead = holding));
    channel.addEventListener('message', (event) => {
        if (link.dead) event.stopImmediatePropagation();
    });
    channel.addEventListener('close', () => links.delete(link));
}

/** Cuts every link of this page. Those that are being made are none yet. */
export function cut() {
    for (const link of links) if (link.channel.readyState !== 'connecting') link.dead = true;
}

/** Cuts every link, and each that comes about until it is let go. */
export function hold() {
    holding = true;
    cut();
}

/** Lets new links live. Those that came about dead are closed, so that nobody waits for them. */
export function release() {
    holding = false;
    for (const link of [...links]) if (link.dead) link.channel.close();
}
