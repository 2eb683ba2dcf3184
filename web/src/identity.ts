import { guard, run } from './errors.js';
import { RawIdentity } from './glue.js';
import { load, loadWith } from './load.js';

/** A key pair. Its public key *is* the peer's name on the wire. */
export class Identity {
    /** @internal */
    readonly raw: RawIdentity;

    private constructor(raw: RawIdentity) {
        this.raw = raw;
    }

    /** A new identity. */
    static async generate(): Promise<Identity> {
        await load();
        return new Identity(new RawIdentity());
    }

    /**
     * The identity that this site keeps under `name` in the browser, made if it is not there yet. It is sealed with a
     * key that the browser gives to nobody; scripts of the same origin can use it all the same.
     * @throws {@link UnsupportedError} `no-indexeddb`, {@link StoreError}
     */
    static async load(name: string): Promise<Identity> {
        await loadWith('store');
        return new Identity(await run<RawIdentity>(() => RawIdentity.loadOrCreate(name)));
    }

    /**
     * The identity of a 32-byte Ed25519 seed, for those who keep it themselves.
     * @throws {@link ArgumentError} `bad-secret`
     */
    static async fromSecret(secret: Uint8Array): Promise<Identity> {
        await load();
        return new Identity(guard(() => new RawIdentity(secret)));
    }

    /** The public half, as text. */
    get publicKey(): string {
        return this.raw.publicKey;
    }
}
