// Elements without markup: nothing that a stranger wrote is ever parsed here.

type Props = Record<string, unknown> & { on?: Record<string, (event: never) => void> };
export type Child = Node | string | number | false | null | undefined;

/** A table for looking up what a stranger wrote: it has what is in it, and nothing that every object has. */
export const table = <V>(entries: Record<string, V>): Readonly<Partial<Record<string, V>>> => Object.assign(Object.create(null) as object, entries);

/** An element; `on` are listeners, `text` its text, everything else attributes, of which `true` is an empty one and `false` none. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
        if (name === 'on') {
            for (const [event, listener] of Object.entries(value as object)) element.addEventListener(event, listener as EventListener);
        } else if (name === 'text') element.textContent = String(value);
        else if (value === true) element.setAttribute(name, '');
        else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
    }
    element.append(...children.filter((child) => child !== false && child !== null && child !== undefined).map((child) => (typeof child === 'number' ? String(child) : (child as Node | string))));
    return element;
}

export const $ = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T;

/** Paths on a grid of 24. */
const ICONS = {
    previous: 'M14.5 6 8.5 12l6 6',
    next: 'm9.5 6 6 6-6 6',
    solution: 'M9.5 18h5M10.5 21h3M12 3a6 6 0 0 0-3.6 10.8c.7.5 1.1 1.300 1.100 2.200h5c0-.9.4-1.700 1.100-2.200A6 6 0 0 0 12 3Z',
    lead: 'M12 4v10M7.500 9.500 12 4.500l4.500 5M5 19h14',
    hand: 'M4 12h13M12.500 7.500 17 12l-4.500 4.500M20.500 5v14',
    stop: 'M7 7h10v10H7z',
    back: 'M9 7 4.500 11.500 9 16M5 11.500h9a5 5 0 0 1 5 5V18',
    steps: 'M9 6h11M9 12h11M9 18h11M4.500 6h.01M4.500 12h.01M4.500 18h.01',
    people: 'M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7ZM2.500 20c.4-3.600 3-5.600 6.500-5.600s6.100 2 6.500 5.600M16 4.300a3.500 3.500 0 0 1 0 6.400M18 14.900c2 .8 3.200 2.500 3.500 5.100',
    help: 'M9.300 9.200a2.800 2.800 0 1 1 4.300 2.400c-1 .7-1.600 1.200-1.600 2.400M12 17.500h.01',
    close: 'm6.500 6.500 11 11M17.500 6.500l-11 11',
    file: 'M7 3.500h7l4 4V20.500H7zM14 3.500v4h4',
    copy: 'M9 9h10.500v10.500H9zM15 9V4.500H4.500V15H9',
    eye: 'M2.500 12S6 5.500 12 5.500 21.500 12 21.500 12 18 18.500 12 18.500 2.500 12 2.500 12ZM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z',
    leave: 'M14 4.500H5.500v15H14M10 12h10.500M17 8.500l3.500 3.500-3.500 3.500',
    pulse: 'M3 12h4l2.500-6 4.500 12 2.500-6H21',
    check: 'm5 12.500 4.500 4.500L19 7.500',
} as const;

export type Icon = keyof typeof ICONS;

/** A drawing that says nothing to a screen reader: words stand beside it. */
export function icon(name: Icon): SVGSVGElement {
    const space = 'http://www.w3.org/2000/svg';
    const svg = document.createElementNS(space, 'svg');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    svg.classList.add('icon');
    const path = document.createElementNS(space, 'path');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
}

/** A part of the page that is made anew when what it shows has changed, and keeps the focus where it was. */
export class Part {
    #key: string | undefined;

    constructor(readonly element: HTMLElement) {}

    show(key: unknown, make: () => Child[]): void {
        const text = JSON.stringify(key);
        if (text === this.#key) return;
        this.#key = text;
        const focused = document.activeElement;
        const held = focused && this.element.contains(focused) ? (focused.getAttribute('data-key') ?? '') : undefined;
        this.element.replaceChildren(...(make().filter(Boolean) as Node[]));
        if (held === undefined) return;
        const all = [...this.element.querySelectorAll<HTMLElement>('[data-key]:not(:disabled)')];
        (all.find((element) => element.dataset['key'] === held) ?? all[0])?.focus({ preventScroll: true });
    }
}

const TONES = 6;

/** A round letter in the colour of its name. */
export function avatar(id: string, name: string, more = ''): HTMLElement {
    let sum = 0x811c9dc5;
    for (const letter of id) sum = Math.imul(sum ^ letter.charCodeAt(0), 0x01000193) >>> 0;
    const first = [...name.trim()][0] ?? '?';
    return h('span', { class: `avatar tone${(sum >>> 8) % TONES} ${more}`, 'aria-hidden': 'true', text: first.toUpperCase() });
}
