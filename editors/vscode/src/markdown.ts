import { posix } from 'node:path';

import hljs from 'highlight.js/lib/common';
import MarkdownIt from 'markdown-it';

import { badPath } from './paths.js';

// A stranger's text: HTML in it is shown as text, links lead to the web or the mail program, and the page runs none
// of its scripts.
const renderer = new MarkdownIt({ html: false, linkify: true, typographer: false, highlight });

renderer.validateLink = (url) => /^(https?:|mailto:|#)/i.test(url) || !/^[^/?#]*:/.test(url);

// Links to files of the repository lead nowhere from here.
renderer.renderer.rules['link_open'] = (tokens, at, options, _, self) => {
    const token = tokens[at]!;
    if (!/^(https?:|mailto:)/i.test(token.attrGet('href') ?? '')) token.attrs = [];
    return self.renderToken(tokens, at, options);
};

// Pictures of the tutorial itself are shown, if they were had. Those of the web would tell their server who reads: they are links.
renderer.renderer.rules.image = (tokens, at, _, env: { pictures?: Pictures }) => {
    const token = tokens[at]!;
    const text = renderer.utils.escapeHtml(token.content || 'picture');
    const source = token.attrGet('src') ?? '';
    const data = env.pictures?.get(source);
    if (data) return `<img src="${renderer.utils.escapeHtml(data)}" alt="${text}">`;
    if (!/^https:/i.test(source)) return `<span class="picture">${text}</span>`;
    return `<a class="picture" href="${renderer.utils.escapeHtml(source)}">${text}</a>`;
};

renderer.core.ruler.push('tasks', (state) => {
    for (let at = 2; at < state.tokens.length; at++) {
        const inline = state.tokens[at]!;
        const first = inline.children?.[0];
        if (inline.type !== 'inline' || state.tokens[at - 2]?.type !== 'list_item_open' || first?.type !== 'text') continue;
        const box = /^\[([ xX])\]\s/.exec(first.content);
        if (!box) continue;
        first.content = (box[1] === ' ' ? '☐ ' : '☑ ') + first.content.slice(box[0].length);
        state.tokens[at - 2]!.attrJoin('class', 'task');
    }
});

/** The most text of a lesson that is rendered, in characters. */
const LONGEST = 512 * 1024;

/** The most pictures of a lesson. */
const PICTURES = 30;

/** Pictures that were had, as `data:` addresses, by what the text calls them. */
export type Pictures = ReadonlyMap<string, string>;

/** HTML of a lesson, with no script, style or frame in it. */
export function renderMarkdown(text: string, pictures: Pictures = new Map()): string {
    if (text.length <= LONGEST) return renderer.render(text, { pictures });
    return `${renderer.render(text.slice(0, LONGEST), { pictures })}<p><em>The rest of this text is too long to be shown.</em></p>`;
}

/** Files of the tutorial that a lesson shows as pictures: what the text calls them, and where they are. */
export function picturesOf(text: string): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    for (const { children } of renderer.parse(text.slice(0, LONGEST), {})) {
        for (const child of children ?? []) {
            const source = child.type === 'image' ? (child.attrGet('src') ?? '') : '';
            if (!source || /^([^/?#]*:|\/|#)/.test(source) || found.size >= PICTURES) continue;
            let path: string;
            try {
                path = posix.normalize(decodeURIComponent(source.replace(/[?#].*$/, '')));
            } catch {
                continue;
            }
            if (!badPath(path) && typeOf(path)) found.set(source, path);
        }
    }
    return found;
}

/** A picture as an address that says it all. In an `img` even SVG runs nothing. */
export function dataUrl(path: string, bytes: Uint8Array): string {
    return `data:${typeOf(path)};base64,${Buffer.from(bytes).toString('base64')}`;
}

function typeOf(path: string): string | undefined {
    const types: Record<string, string> = { png: 'png', jpg: 'jpeg', jpeg: 'jpeg', gif: 'gif', webp: 'webp', avif: 'avif', svg: 'svg+xml' };
    const type = types[posix.extname(path).slice(1).toLowerCase()];
    return type && `image/${type}`;
}

export const escape = renderer.utils.escapeHtml;

function highlight(code: string, language: string): string {
    if (!language || code.length > 64 * 1024 || !hljs.getLanguage(language)) return '';
    return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}
