/**
 * The text of before a change: takes the hunks of a unified diff back from the text of after it. `undefined` if they do not fit, in which case
 * the text must be had in another way.
 */
export function unapply(after: string, diff: string): string | undefined {
    const now = split(after);
    const before: string[] = [];
    let at = 0;
    const lines = diff.split('\n');
    if (lines.at(-1) === '') lines.pop();
    for (let i = 0; i < lines.length; ) {
        const header = /^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@/.exec(lines[i]!);
        if (!header) return undefined;
        const count = header[2] === undefined ? 1 : Number(header[2]);
        // A hunk without lines of after names the line before it.
        const start = Number(header[1]) - (count === 0 ? 0 : 1);
        if (start < at || start > now.length) return undefined;
        before.push(...now.slice(at, start));
        at = start;
        for (i++; i < lines.length && !lines[i]!.startsWith('@@'); i++) {
            const line = lines[i]!;
            const text = line.slice(1);
            const bare = lines[i + 1]?.startsWith('\\') ?? false;
            const whole = bare ? text : `${text}\n`;
            if (line.startsWith('-')) {
                before.push(whole);
            } else if (line.startsWith('+') || line.startsWith(' ') || line === '') {
                if (now[at] !== whole) return undefined;
                at++;
                if (!line.startsWith('+')) before.push(whole);
            } else if (!line.startsWith('\\')) {
                return undefined;
            }
        }
    }
    before.push(...now.slice(at));
    return before.join('');
}

/** Lines with their ends. */
function split(text: string): string[] {
    return text === '' ? [] : text.match(/[^\n]*\n|[^\n]+$/g)!;
}
