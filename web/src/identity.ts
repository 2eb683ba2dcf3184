import { guard } from './errors.js';
import { RawIdentity } from './glue.js';
import { load } from './load.js';

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
