// A step's changes: unified diffs as tables.
import type { FileChange } from '../../src/tutorial/types.js';
import { languageOf, nodes, tokens, type Token } from './code.js';
import { h, icon, table } from './dom.js';

interface Line {
    readonly sign: ' ' | '+' | '-';
    readonly text: string;
    readonly old?: number;
    readonly now?: number;
    /** What of it differs from the line that it replaces. */
    from?: number;
    to?: number;
    tokens?: readonly Token[];
}

interface Hunk {
    readonly title: string;
    readonly lines: Line[];
}

/** The hunks of a unified diff. What is none of its lines is left out. */
export function parse(diff: string): Hunk[] {
    const hunks: Hunk[] = [];
    let [old, now] = [0, 0];
    for (const raw of diff.split('\n')) {
        const text = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
        const head = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@ ?(.*)$/.exec(text);
        const lines = hunks[hunks.length - 1]?.lines;
        if (head) {
            [old, now] = [Number(head[1]), Number(head[2])];
            hunks.push({ title: head[3] ?? '', lines: [] });
        } else if (!lines) continue;
        else if (text.startsWith('+')) lines.push({ sign: '+', text: text.slice(1), now: now++ });
        else if (text.startsWith('-')) lines.push({ sign: '-', text: text.slice(1), old: old++ });
        else if (text.startsWith(' ')) lines.push({ sign: ' ', text: text.slice(1), old: old++, now: now++ });
    }
    return hunks;
}

/** Finds what differs in lines that stand for each other: as many added as removed, one after the other. */
function compare(lines: Line[]): void {
    for (let at = 0; at < lines.length; ) {
        const run = (sign: string, from: number) => {
            let end = from;
            while (lines[end]?.sign === sign) end++;
            return end;
        };
        const removed = run('-', at);
        const added = run('+', removed);
        if (removed > at && removed - at === added - removed) {
            for (let pair = at; pair < removed; pair++) mark(lines[pair]!, lines[pair + removed - at]!);
        }
        at = Math.max(added, at + 1);
    }
}

function mark(one: Line, two: Line): void {
    const least = Math.min(one.text.length, two.text.length);
    let [before, after] = [0, 0];
    while (before < least && one.text[before] === two.text[before]) before++;
    while (after < least - before && one.text[one.text.length - 1 - after] === two.text[two.text.length - 1 - after]) after++;
    // Lines that share nearly nothing are different lines.
    if (before + after < least * 0.4) return;
    for (const line of [one, two]) [line.from, line.to] = [before, line.text.length - after];
}

/** Colours each side of a hunk as one text, so that what spans lines keeps its colour. */
function colour(lines: Line[], language: string | undefined): void {
    for (const sides of [[' ', '+'], ['-']]) {
        const own = lines.filter((line) => sides.includes(line.sign));
        const context = sides[0] === '-' ? lines.filter((line) => line.sign !== '+') : own;
        const found = tokens(context.map((line) => line.text).join('\n'), language);
        for (const [at, line] of context.entries()) if (sides.includes(line.sign)) line.tokens = found[at] ?? [];
    }
}

/** More lines than this are not made before they are asked for. */
const FIRST_LINES = 600;

function row(line: Line): HTMLElement {
    const kind = { '+': 'add', '-': 'del', ' ': '' }[line.sign];
    const said = { '+': 'added: ', '-': 'removed: ', ' ': '' }[line.sign];
    return h('tr', { class: kind },
        h('td', { class: 'num old', 'data-n': line.old, 'aria-hidden': 'true' }),
        h('td', { class: 'num', 'data-n': line.now, 'aria-hidden': 'true' }),
        h('td', { class: 'sign', 'data-n': line.sign.trim(), 'aria-hidden': 'true' }),
        h('td', { class: 'text' }, said && h('span', { class: 'hidden', text: said }), ...nodes(line.tokens ?? [{ text: line.text, kind: '' }], line.from, line.to)));
}

function lines(file: FileChange): HTMLElement {
    const hunks = parse(file.diff ?? '');
    const language = languageOf(file.path);
    const body = h('tbody');
    const rows: (() => HTMLElement)[] = [];
    for (const [at, { title, lines }] of hunks.entries()) {
        if (at > 0 || title) rows.push(() => h('tr', { class: 'gap' }, h('td', { class: 'num old' }), h('td', { class: 'num' }), h('td', { class: 'sign' }), h('td', { class: 'text', text: title ? `… ${title}` : '…' })));
        colour(lines, language);
        compare(lines);
        rows.push(...lines.map((line) => () => row(line)));
    }
    const box = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `Changes of ${file.path}` },
        h('table', { class: 'diff' }, body));
    const put = (to: number) => body.append(...rows.splice(0, to).map((make) => make()));
    put(FIRST_LINES);
    if (rows.length === 0) return box;
    const more = h('button', { type: 'button', class: 'more', text: `Show ${rows.length.toLocaleString('en')} more lines`, on: { click: () => {
        put(rows.length);
        more.remove();
    } } });
    return h('div', {}, box, more);
}

const STATUS = table({ added: 'new', modified: 'changed', deleted: 'deleted', renamed: 'moved' });

/** A path that may break where a reader would break it. */
function path(full: string): (Node | string)[] {
    const text = full.length > 240 ? `…${full.slice(-239)}` : full;
    const at = text.lastIndexOf('/') + 1;
    return [h('span', { class: 'folder' }, ...text.slice(0, at).split(/(?<=\/)/).flatMap((part) => [part, h('wbr')])), h('b', { text: text.slice(at) })];
}

/** What the text of the step is made of: it is read above, and its changes are of less interest. */
const lesson = ({ path }: FileChange) => /^readme(\.md)?$/i.test(path);

/** One file of a step. */
function change(file: FileChange): HTMLElement {
    const why = file.binary ? 'Not text: it is not shown here.' : file.tooLarge ? 'Too large to be shown here.' : !file.diff ? 'No line of it differs.' : '';
    const size = file.additions + file.deletions;
    const details = h('details', { class: 'file', open: (size <= 400 && !lesson(file)) || Boolean(why) },
        h('summary', {},
            icon('next'),
            h('span', { class: 'path' }, ...(file.oldPath && file.oldPath !== file.path ? [h('span', { class: 'folder', text: `${file.oldPath.slice(-240)} → ` })] : []), ...path(file.path)),
            h('span', { class: `status ${STATUS[file.status] ? file.status : ''}`, text: STATUS[file.status] ?? 'changed' }),
            !why && h('span', { class: 'counts' },
                h('span', { class: 'plus', text: `+${file.additions}` }), h('span', { class: 'hidden', text: ' lines, ' }),
                h('span', { class: 'minus', text: `−${file.deletions}` }), h('span', { class: 'hidden', text: ' lines' }))));
    const fill = () => {
        if (details.open && details.childElementCount === 1) details.append(why ? h('p', { class: 'why', text: why }) : lines(file));
    };
    details.addEventListener('toggle', fill);
    fill();
    return details;
}

/** All changes of a step. */
export function changes(files: readonly FileChange[]): HTMLElement | undefined {
    // Where only the text changed, it is all there is to read.
    if (files.every(lesson)) return undefined;
    const sum = (name: 'additions' | 'deletions') => files.reduce((total, file) => total + file[name], 0);
    return h('section', { class: 'changes', 'aria-labelledby': 'changes' },
        h('h2', { id: 'changes' }, 'What changes', h('span', { class: 'counts' },
            `${files.length} ${files.length === 1 ? 'file' : 'files'}`,
            h('span', { class: 'plus', text: `+${sum('additions')}` }), h('span', { class: 'minus', text: `−${sum('deletions')}` }))),
        ...[...files.filter((file) => !lesson(file)), ...files.filter(lesson)].map(change));
}
