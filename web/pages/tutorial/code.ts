// Source text with colours. What a highlighter makes of a stranger's code is read back as tokens: it is never markup of this page.
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import css from 'highlight.js/lib/languages/css';
import go from 'highlight.js/lib/languages/go';
import ini from 'highlight.js/lib/languages/ini';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import markdown from 'highlight.js/lib/languages/markdown';
import python from 'highlight.js/lib/languages/python';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import typescript from 'highlight.js/lib/languages/typescript';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';

import { table } from './dom.js';

const languages = { bash, c, cpp, css, go, ini, java, javascript, json, markdown, python, rust, sql, typescript, xml, yaml };
for (const [name, language] of Object.entries(languages)) hljs.registerLanguage(name, language);

/** More than this is shown without colours: it would hold the page up. */
const MAX_COLOURED = 120_000;

/** A piece of a line. */
export interface Token {
    readonly text: string;
    readonly kind: string;
}

/** Names of files that have no ending that says it. */
const NAMES = table({ dockerfile: 'bash', makefile: 'bash', 'cargo.lock': 'ini', '.gitignore': 'bash' });
const ENDINGS = table({
    h: 'c', hpp: 'cpp', cc: 'cpp', mjs: 'javascript', cjs: 'javascript', jsx: 'javascript', mts: 'typescript', tsx: 'typescript',
    toml: 'ini', cfg: 'ini', html: 'xml', svg: 'xml', vue: 'xml', svelte: 'xml', yml: 'yaml', py: 'python', rs: 'rust', sh: 'bash', zsh: 'bash',
    md: 'markdown', scss: 'css', js: 'javascript', ts: 'typescript', jsonc: 'json',
});

/** The language of a file, if it is one that is known here. */
export function languageOf(path: string): string | undefined {
    const name = (path.split('/').pop() ?? '').toLowerCase();
    const ending = name.split('.').pop() ?? '';
    return known(NAMES[name] ?? ENDINGS[ending] ?? ending);
}

/** What a fenced block calls its language. */
export function known(name: string | undefined): string | undefined {
    const lower = (name ?? '').toLowerCase();
    const language = hljs.getLanguage(lower) ? lower : ENDINGS[lower];
    return language && hljs.getLanguage(language) ? language : undefined;
}

const ENTITIES = table({ amp: '&', lt: '<', gt: '>', quot: '"', '#x27': "'" });

/** The lines of a text, each as tokens; joined they are the text again. */
export function tokens(text: string, language: string | undefined): Token[][] {
    if (!language || text.length > MAX_COLOURED) return text.split('\n').map((line) => [{ text: line, kind: '' }]);
    const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
    const lines: Token[][] = [[]];
    const open: string[] = [];
    for (const [part] of value.matchAll(/<span class="[^"]*">|<\/span>|[^<]+/g)) {
        if (part === '</span>') open.pop();
        else if (part.startsWith('<')) open.push(part.slice(13, -2));
        else {
            const plain = part.replace(/&(amp|lt|gt|quot|#x27);/g, (_, name: string) => ENTITIES[name] ?? '');
            for (const [at, text] of plain.split('\n').entries()) {
                if (at > 0) lines.push([]);
                if (text) lines[lines.length - 1]?.push({ text, kind: open.join(' ') });
            }
        }
    }
    return lines;
}

/** Only what a highlighter says: letters, digits, dots, dashes. */
const safeKind = (kind: string) => kind.split(' ').filter((word) => /^[\w.-]+$/.test(word)).join(' ');

/** A line as nodes; `from` to `to` of its text is marked. */
export function nodes(line: readonly Token[], from = 0, to = 0): Node[] {
    const made: Node[] = [];
    let at = 0;
    const put = (text: string, kind: string, marked: boolean) => {
        if (!text) return;
        if (!kind && !marked) {
            made.push(document.createTextNode(text));
            return;
        }
        const element = document.createElement(marked ? 'mark' : 'span');
        const classes = safeKind(kind);
        if (classes) element.className = classes;
        element.textContent = text;
        made.push(element);
    };
    for (const { text, kind } of line) {
        const [start, end] = [Math.min(text.length, Math.max(0, from - at)), Math.min(text.length, Math.max(0, to - at))];
        put(text.slice(0, start), kind, false);
        put(text.slice(start, end), kind, true);
        put(text.slice(Math.max(start, end)), kind, false);
        at += text.length;
    }
    return made;
}
