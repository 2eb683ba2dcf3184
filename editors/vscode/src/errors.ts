/** Something that the user has to know, in words for the user. */
export class UserError extends Error {
    override name = 'UserError';
    /** Why, for programs. */
    readonly code: string;

    constructor(code: string, message: string, options?: ErrorOptions) {
        super(message, options);
        this.code = code;
    }
}

/** What to show of whatever was thrown, in one or two sentences. */
export function wording(thrown: unknown): string {
    if (thrown instanceof UserError) return thrown.message;
    const code = codeOf(thrown);
    const known = code === undefined ? undefined : words[code];
    const message = thrown instanceof Error ? thrown.message : typeof thrown === 'string' ? thrown : undefined;
    const hint = (thrown as { hint?: unknown } | null)?.hint;
    const text = known ?? (message ? sentence(message) : 'Something went wrong that has no description.');
    return typeof hint === 'string' && hint && !text.includes(hint) ? `${text} ${sentence(hint)}` : text;
}

/** The code of an error, if it has one. */
export function codeOf(thrown: unknown): string | undefined {
    const code = (thrown as { code?: unknown } | null | undefined)?.code;
    return typeof code === 'string' ? code : undefined;
}

/** Whether it is only that somebody gave up waiting. */
export function isAbort(thrown: unknown): boolean {
    return (thrown as { name?: unknown } | null | undefined)?.name === 'AbortError' || codeOf(thrown) === 'left';
}

// Where the package speaks to programmers.
const words: Record<string, string> = {
    'service-not-found': 'There is no tutorial under this link: it has ended, or the link is another server’s.',
    'not-a-server': 'What answers at this address is no Everlink server. Is the link complete?',
    'host-full': 'The tutorial is full: its host lets nobody else in.',
    full: 'The tutorial is full: its host lets nobody else in.',
    impersonation: 'Somebody else answered in the host’s name. Do not trust this signaling server.',
    version: 'The host speaks another version of Everlink. Update the extension, or ask the host to update.',
    unanswered: 'Whoever leads did not answer.',
    nobody: 'There is nobody else who could take control.',
    held: 'Somebody else leads already, and goes on.',
    displaced: 'You joined the same tutorial from another window.',
};

function sentence(text: string): string {
    const trimmed = text.trim();
    const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
    return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
