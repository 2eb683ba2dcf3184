// Plain objects for JavaScript: in Rust each field would be a call.

/** An object of fields: `name=word` is that word, `name` the next of the values. What is undefined is left out. */
export function plain(fields, values) {
    const object = {};
    let next = 0;
    for (const field of fields.split(' ')) {
        const [name, word] = field.split('=');
        const value = word ?? values[next++];
        if (value !== undefined) object[name] = value;
    }
    return object;
}

/** A word of the library's, as JavaScript writes it. */
export const dashed = (word) => word.replaceAll('_', '-');

/** What TypeScript makes an error of. */
export const failure = (kind, code, message, fields, values) => ({ kind, code: dashed(code), message, ...plain(fields, values) });
