// What happened, in words: for a screen reader, and for a moment on the page.
import { $, h } from './dom.js';

let told: ReturnType<typeof setTimeout> | undefined;
let news: string[] = [];

/** Tells a screen reader. What happens at once is told at once: a status that is changed twice is read once. */
export function announce(text: string): void {
    news.push(text);
    clearTimeout(told);
    told = setTimeout(() => {
        $('news').textContent = news.slice(-3).join(' ');
        news = [];
    }, 100);
}

/** Shows it for some seconds, too. */
export function toast(text: string, bad = false): void {
    announce(text);
    const note = h('p', { class: bad ? 'toast bad' : 'toast', 'aria-hidden': 'true', text });
    $('toasts').append(note);
    while ($('toasts').childElementCount > 3) $('toasts').firstElementChild?.remove();
    setTimeout(() => note.remove(), bad ? 9000 : 5000);
}
