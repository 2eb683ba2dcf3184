/** The longest path of a file of a step, in bytes of UTF-8. */
const MAX_PATH = 4096;
/** How deep folders may be in each other. */
const MAX_DEPTH = 64;
/** The folder in a work folder that Everlink keeps for itself. */
export const OWN = '.everlink';

// What file systems of Windows and macOS take for something else: devices, short names, characters that are ignored.
const devices = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)$/;
const ignored = /[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;

/**
 * Why a path that a host gave must not be used, to be said after “it”, or `undefined` if it may. The same on every platform, as at the
 * command line: every part is a plain name, nothing absolute, nothing that climbs, nothing of git's own.
 */
export function badPath(path: string): string | undefined {
    if (path === '') return 'is empty';
    if (Buffer.byteLength(path) > MAX_PATH) return 'is too long';
    if (path.startsWith('/')) return 'is absolute';
    const parts = path.split('/');
    if (parts.length > MAX_DEPTH) return 'is too deep';
    for (const part of parts) {
        const bad = badName(part);
        if (bad) return bad;
    }
    if (folded(parts[0]!) === OWN) return 'is in the folder that Everlink keeps for itself';
    return undefined;
}

/** What two paths have in common that are one where case does not count. */
export function folded(path: string): string {
    return path.replace(ignored, '').toLowerCase();
}

function badName(name: string): string | undefined {
    if (name === '') return 'has an empty part';
    if (name === '.' || name === '..') return 'leads elsewhere';
    if (Buffer.byteLength(name) > 255) return 'has a name that is too long';
    if (/[\u0000-\u001f\u007f-\u009f\\:<>"|?*]/.test(name)) return 'has a character that Windows does not allow';
    // A half of a character is none that a file system has.
    if (/[\ud800-\udfff]/.test(name.replace(/[\ud800-\udbff][\udc00-\udfff]/g, ''))) return 'is no text';
    if (/[. ]$/.test(name)) return 'has a name that ends with a dot or a space, which Windows drops';
    const plain = folded(name);
    if (plain === '' || plain === '.' || plain === '..') return 'leads elsewhere';
    if (plain === '.git' || /^git~\d*$/.test(plain)) return 'is in a .git folder';
    if (devices.test((plain.split('.')[0] ?? '').trimEnd())) return 'has the name of a device of Windows';
    return undefined;
}
