import hljs from 'highlight.js/lib/common';
import MarkdownIt from 'markdown-it';

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

// Pictures beside the text cannot be had from a repository that is elsewhere; those of the web would tell their server who reads.
renderer.renderer.rules.image = (tokens, at) => {
    const token = tokens[at]!;
    const text = renderer.utils.escapeHtml(token.content || 'picture');
    const source = token.attrGet('src') ?? '';
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

/** HTML of a lesson, with no script, style or frame in it. */
export function renderMarkdown(text: string): string {
    if (text.length <= LONGEST) return renderer.render(text);
    return `${renderer.render(text.slice(0, LONGEST))}<p><em>The rest of this text is too long to be shown.</em></p>`;
}

export const escape = renderer.utils.escapeHtml;

function highlight(code: string, language: string): string {
    if (!language || code.length > 64 * 1024 || !hljs.getLanguage(language)) return '';
    return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}
