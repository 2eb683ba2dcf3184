// A step's text. It is a stranger's: raw HTML in it is sanitised, nothing from elsewhere is loaded, and links say where they lead.
import DOMPurify from 'dompurify';
import { Marked } from 'marked';

import type { FileContent } from '../../src/tutorial/types.js';
import { known, nodes, tokens } from './code.js';
import { h, table } from './dom.js';

const marked = new Marked({ gfm: true, async: false });

/** What a text may consist of. No form, no style, no frame, no media, no vector graphics, no name or id that scripts could trip over. */
const RULES = {
    RETURN_DOM_FRAGMENT: true as const,
    ALLOWED_TAGS: [
        'a', 'abbr', 'b', 'blockquote', 'br', 'code', 'dd', 'del', 'details', 'dl', 'dt', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'img', 'input',
        'ins', 'kbd', 'li', 'ol', 'p', 'pre', 's', 'strong', 'sub', 'summary', 'sup', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul', 'var',
    ],
    ALLOWED_ATTR: ['href', 'src', 'alt', 'title', 'class', 'align', 'start', 'type', 'checked', 'disabled', 'colspan', 'rowspan', 'open'],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#|[^:]*$|[^:/?#]*[/?#])/i,
};

/** What a text can refer to beside itself. */
export interface Around {
    /** Reads a file of the step. */
    file(path: string): Promise<FileContent>;
    /** What is made is let go by this. */
    dispose: (end: () => void) => void;
}

const IMAGES = table({
    png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', gif: 'image/gif', webp: 'image/webp', avif: 'image/avif', svg: 'image/svg+xml',
});

/** The text as nodes, without its first heading where that only repeats `title`. */
export function lesson(text: string, title: string, around: Around): DocumentFragment {
    const fragment = DOMPurify.sanitize(marked.parse(text) as string, RULES);
    const plain = (text: string | null) => (text ?? '').toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ').trim();
    const first = fragment.firstElementChild;
    if (first && /^H[1-3]$/.test(first.tagName) && plain(first.textContent) === plain(title)) first.remove();
    // The page's own heading is the first: those of the text come below it.
    const highest = Math.min(6, ...[...fragment.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((heading) => Number(heading.tagName[1])));
    for (const heading of fragment.querySelectorAll('h1,h2,h3,h4,h5,h6')) {
        const level = Math.min(6, Number(heading.tagName[1]) - highest + 2) as 2 | 3 | 4 | 5 | 6;
        const moved = h(`h${level}`);
        moved.append(...heading.childNodes);
        heading.replaceWith(moved);
    }
    for (const element of fragment.querySelectorAll('[class]')) if (element.tagName !== 'CODE') element.removeAttribute('class');
    for (const link of fragment.querySelectorAll('a')) safeLink(link);
    for (const image of fragment.querySelectorAll('img')) safeImage(image, around);
    for (const input of fragment.querySelectorAll('input')) task(input);
    for (const block of fragment.querySelectorAll('pre')) code(block);
    for (const table of fragment.querySelectorAll('table')) {
        const box = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Table' });
        table.replaceWith(box);
        box.append(table);
    }
    return fragment;
}

function safeLink(link: HTMLAnchorElement): void {
    const href = link.getAttribute('href') ?? '';
    if (/^(https?:|mailto:)/i.test(href)) {
        link.rel = 'noopener noreferrer nofollow';
        link.target = '_blank';
        if (!link.title) link.title = href;
        return;
    }
    // What is relative leads into the tutorial's repository, which is not at this address.
    const plain = h('span', { class: 'dead-link', title: href });
    plain.append(...link.childNodes);
    link.replaceWith(plain);
}

function safeImage(image: HTMLImageElement, around: Around): void {
    const source = image.getAttribute('src') ?? '';
    const alt = image.alt || 'image';
    const type = IMAGES[(/\.(\w+)$/.exec(source)?.[1] ?? '').toLowerCase()];
    const note = (text: string) => h('span', { class: 'no-image', text });
    if (/^[a-z][\w+.-]*:|^\/\//i.test(source)) {
        // Loading it would tell its server who reads this.
        image.replaceWith(/^https?:/i.test(source)
            ? h('a', { class: 'no-image', href: source, target: '_blank', rel: 'noopener noreferrer nofollow', title: source, text: `${alt}: a picture from elsewhere` })
            : note(alt));
        return;
    }
    const path = source.replace(/^(\.\/)+/, '').replace(/[?#].*$/, '');
    const hole = note(alt);
    image.replaceWith(hole);
    if (!type || !path) return;
    void around.file(decoded(path)).then(({ text, base64 }) => {
        const bytes = typeof base64 === 'string' ? Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)) : new TextEncoder().encode(text ?? '');
        const url = URL.createObjectURL(new Blob([bytes], { type }));
        around.dispose(() => URL.revokeObjectURL(url));
        hole.replaceWith(h('img', { src: url, alt: image.alt, title: image.title || null }));
    }).catch(() => {});
}

function decoded(path: string): string {
    try {
        return decodeURIComponent(path);
    } catch {
        return path;
    }
}

/** Of all inputs only the boxes of a task list, which nobody can tick. */
function task(input: HTMLInputElement): void {
    if (input.type !== 'checkbox') {
        input.remove();
        return;
    }
    const done = input.checked;
    input.closest('li')?.classList.add('task');
    input.replaceWith(h('span', { class: done ? 'box done' : 'box', role: 'img', 'aria-label': done ? 'done' : 'to do' }));
}

function code(block: HTMLElement): void {
    const element = block.querySelector('code') ?? block;
    const name = /(?:^|\s)language-([\w+#.-]+)/.exec(element.className)?.[1];
    const text = (element.textContent ?? '').replace(/\n$/, '');
    const inner = h('code');
    const lines = tokens(text, known(name));
    for (const [at, line] of lines.entries()) inner.append(...nodes(line), at < lines.length - 1 ? '\n' : '');
    block.replaceWith(h('pre', { tabindex: 0, role: 'region', 'aria-label': name ? `Code: ${name}` : 'Code' }, inner));
}
