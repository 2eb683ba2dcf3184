/**
 * The only file that knows the package: `everlink/tutorial` over the WebRTC of node-datachannel. Everything else sees
 * {@link ./sync.ts}.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';

import { UserError } from './errors.js';
import type { Join, Sync } from './sync.js';

export const join: Join = async (room, { name, secret, iceServers, signal }) => {
    const { Client, Identity, TutorialSync } = await load();
    const identity = await Identity.fromSecret(secret);
    const client = await Client.create({
        signaling: room.server,
        identity,
        iceServers: iceServers as NonNullable<Parameters<typeof Client.create>[0]['iceServers']>,
    });
    try {
        const sync = await TutorialSync.connect(client, room.uuid, { ...(name && { name }), signal });
        return {
            sync: sync satisfies Sync,
            leave: async () => {
                await sync.leave().catch(() => {});
                await client.shutdown();
            },
        };
    } catch (thrown) {
        await client.shutdown().catch(() => {});
        throw thrown;
    }
};

/** Loads both parts when they are first needed: the native one may not be there for this machine. */
async function load(): Promise<typeof import('everlink/tutorial')> {
    const place = globalThis as { RTCPeerConnection?: unknown };
    if (place.RTCPeerConnection === undefined) {
        try {
            const { RTCPeerConnection } = await import('node-datachannel/polyfill');
            place.RTCPeerConnection = RTCPeerConnection;
        } catch (thrown) {
            const message = `This build of the extension has no WebRTC for ${process.platform}-${process.arch}: install the one made for it.`;
            throw new UserError('no-webrtc', message, { cause: thrown });
        }
    }
    const everlink = await import('everlink/tutorial');
    // The module lies beside the bundle.
    await everlink.load(readFile(path.join(__dirname, 'everlink_bg.wasm')));
    return everlink;
}
