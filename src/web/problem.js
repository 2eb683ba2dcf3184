/** What an error says, for people. */
export function problem(error) {
    const message = error?.message ?? (typeof error === 'string' ? error : '');
    return [error?.name, message].filter(Boolean).join(': ') || 'no reason was given';
}
