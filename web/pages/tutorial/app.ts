// A room on the page: what it shows follows from what the room is now, and what was chosen here.
import type { Left, TutorialEvent } from '../../src/tutorial/events.js';
import type { Member, StepPage } from '../../src/tutorial/types.js';
import { announce, toast } from './announce.js';
import { changes } from './diff.js';
import { $, Part, h, table } from './dom.js';
import { dock, type Dock } from './dock.js';
import { chooseSuccessor, panels } from './dialogs.js';
import { keys } from './keys.js';
import { lesson } from './lesson.js';
import { stepList } from './list.js';
import { people } from './people.js';
import type { Room } from './room.js';
import { Pages, Steps, same, type Place } from './steps.js';

const KIND = table({ section: 'Chapter', template: 'Exercise', solution: 'Solution', action: 'Step' });

export interface AppOptions {
    readonly room: Room;
    /** The room's uuid. */
    readonly id: string;
    /** What to share; absent where there is nothing to. */
    readonly link?: string;
    readonly observer: boolean;
    /** This page is done with the room. */
    readonly onLeave: () => void;
}

/** A step as nodes. */
interface Laid {
    readonly place: Place;
    readonly page: StepPage;
    readonly title: string;
    readonly kind: string;
    readonly nodes: Node[];
    /** Lets go of what they hold. */
    end(): void;
}

/** Milliseconds. */
const SEND_FIRST = 4;

let scrolled = false;
addEventListener('scroll', () => (scrolled = scrollY > 0), { passive: true });

/** To the beginning of the text. Scrolling lays the page out at once, so only where it is not there. */
function toTop(): void {
    if (scrolled) scrollTo({ top: 0 });
}

/** When there is nothing else to do. Safari has no such thing, so: soon. */
const idle = (work: () => void) => void ('requestIdleCallback' in globalThis ? requestIdleCallback(work, { timeout: 1000 }) : setTimeout(work, 100));

/** Nobody is told more than this of what somebody else wrote. */
const short = (text: string, most = 80) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export class App {
    readonly room: Room;
    readonly #options: AppOptions;
    readonly #pages: Pages;
    readonly #ends = new AbortController();
    readonly #parts = {
        dock: new Part($('dock')), people: new Part($('people-body')), list: new Part($('steps-body')),
        link: new Part($('link')), asks: new Part($('asks')), title: new Part($('tutorial')),
    };
    #steps: Steps | undefined;
    /** Where this page is, when it is not where the leader is. */
    #away: Place | undefined;
    /** What the article shows, or is about to. */
    #shown: Place | undefined;
    #turn = 0;
    #laid: Laid | undefined;
    #ahead: Laid | undefined;
    /** What this page waits for. */
    #pending: Dock['pending'];
    #cancel: AbortController | undefined;
    #dead = false;

    constructor(options: AppOptions) {
        this.#options = options;
        this.room = options.room;
        this.#pages = new Pages(options.room.content);
    }

    /** Shows the room until it is over; resolves with why it ended. */
    async run(): Promise<Left> {
        const { signal } = this.#ends;
        const events = this.room.events({ signal });
        const first = events[Symbol.asyncIterator]().next();
        document.body.dataset['view'] = 'room';
        keys(this, signal);
        panels(signal);
        this.refresh();
        void this.#outline();
        let reason: Left = { code: 'closed', message: 'the room is closed' };
        try {
            for (let next = await first; !next.done; next = await events.next()) {
                const event = next.value;
                if (event.type === 'left') {
                    reason = event.reason;
                    break;
                }
                this.#told(event);
                this.refresh();
            }
        } catch (error) {
            if (!signal.aborted) throw error;
            reason = { code: 'by_itself', message: 'left the room' };
        } finally {
            this.#dead = true;
            this.#ends.abort();
            this.#clear();
        }
        return reason;
    }

    /** Says something for a moment. */
    note(text: string): void {
        toast(text);
    }

    async leave(): Promise<void> {
        this.#options.onLeave();
        await this.room.leave().catch(() => {});
        this.#ends.abort();
    }

    // ------------------------------------------------------------------------------ what is now

    get leads(): boolean {
        return this.room.phase === 'active';
    }

    get steps(): Steps | undefined {
        return this.#steps;
    }

    name(id: string | null | undefined): string {
        if (!id) return 'Nobody';
        if (id === this.room.me) return 'You';
        return this.#named(this.room.members.find((member) => member.id === id), id);
    }

    /** A member's name, this page's own, too. */
    fullName(id: string): string {
        return this.#named(this.room.members.find((member) => member.id === id), id);
    }

    #named(member: Member | undefined, id: string): string {
        return short(member?.name?.trim() || `Guest ${id.slice(0, 4)}`, 40);
    }

    /** Where the leader is, or was. */
    get led(): Place | undefined {
        const { state } = this.room;
        if (!state || !this.#steps) return undefined;
        return this.#steps.place(state.stepContent.index, state.isShowingSolution);
    }

    /** Where this page is. */
    get place(): Place | undefined {
        return this.#away ?? this.led ?? (this.#steps && { index: 0, solution: false });
    }

    get away(): boolean {
        return this.#away !== undefined;
    }

    // ------------------------------------------------------------------------------- what is done

    /** Goes to a place: with everybody if this page leads, else alone. */
    go(place: Place | undefined): void {
        if (!place || !this.#steps) return;
        const to = this.#steps.place(place.index, place.solution);
        if (this.leads) {
            this.#away = undefined;
            this.#send(to);
            // What is sent goes out first: showing it here keeps this thread busy for a while.
            setTimeout(() => this.refresh(), SEND_FIRST);
        } else {
            this.#away = same(to, this.led) ? undefined : to;
            this.refresh();
        }
        toTop();
    }

    beside(by: 1 | -1): void {
        if (this.place) this.go(this.#steps?.beside(this.place, by));
    }

    toggleSolution(): void {
        const { place } = this;
        if (place && this.#steps?.hasSolution(place.index)) this.go({ index: place.index, solution: !place.solution });
    }

    back(): void {
        if (!this.#away) return;
        this.#away = undefined;
        this.refresh();
        toTop();
    }

    #send(to: Place): void {
        const state = this.#steps?.state(to, this.room.state, this.#options.id);
        if (!state) return;
        try {
            this.room.sendState(state);
        } catch (error) {
            this.#failed(error);
        }
    }

    /** Takes the lead if nobody has it, else asks for it. */
    async lead(): Promise<void> {
        if (this.leads || this.#pending || this.#options.observer) return;
        if (this.room.holder === null) {
            await this.#wait({ what: 'lead' }, async () => {
                // From here: what is on this page is what everybody sees then.
                const here = this.place;
                await (this.room.phase === 'connected_idle' ? this.room.lead() : this.room.requestControl());
                this.#away = undefined;
                if (here && (!this.room.state || !same(here, this.led))) this.#send(here);
            });
            return;
        }
        await this.#wait({ what: 'request', of: this.name(this.room.holder) }, async (signal) => {
            await this.room.requestControl(undefined, { signal });
            this.#away = undefined;
        });
    }

    /** Stops waiting for an answer. */
    async cancel(): Promise<void> {
        if (this.#pending?.what !== 'request') await this.room.withdrawOffer().catch((error: unknown) => this.#failed(error));
        else this.#cancel?.abort();
    }

    async handOver(): Promise<void> {
        if (!this.leads || this.#pending) return;
        const others = this.room.members.filter((member) => member.id !== this.room.me && member.role !== 'observer');
        const to = await chooseSuccessor(others.map((member) => ({ id: member.id, name: this.#named(member, member.id), away: member.presence === 'healing' })));
        if (to !== undefined) await this.offer(to ?? undefined);
    }

    async offer(to: string | undefined): Promise<void> {
        if (!this.leads || this.#pending) return;
        await this.#wait({ what: 'offer', of: to ? this.name(to) : 'everybody' }, async () => {
            const { outcome, by, reason } = await this.room.offerControl(to);
            const who = this.name(by ?? to);
            if (outcome === 'declined') toast(`${who} declined${reason ? `: ${short(reason)}` : '.'}`);
            if (outcome === 'expired') toast('Nobody took the lead in time, so you keep it.');
        });
    }

    async release(): Promise<void> {
        if (this.leads) await this.#try(() => this.room.releaseControl({ to: 'idle' }));
    }

    async giveBack(): Promise<void> {
        if (this.leads) await this.#try(() => this.room.returnControl());
    }

    async revoke(to?: string): Promise<void> {
        await this.#try(() => this.room.revokeControl(to));
    }

    async #wait(pending: NonNullable<Dock['pending']>, work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
        this.#pending = pending;
        this.#cancel = new AbortController();
        this.refresh();
        try {
            await work(this.#cancel.signal);
        } catch (error) {
            if (!this.#cancel.signal.aborted) this.#failed(error);
        } finally {
            this.#pending = undefined;
            this.refresh();
        }
    }

    async #try(work: () => Promise<unknown>): Promise<void> {
        try {
            await work();
        } catch (error) {
            this.#failed(error);
        }
        this.refresh();
    }

    #failed(error: unknown): void {
        if (this.#dead) return;
        const message = error instanceof Error ? error.message : String(error);
        toast(`${message.charAt(0).toUpperCase()}${short(message.slice(1), 200)}`, true);
    }

    // ------------------------------------------------------------------------------- what happens

    #told(event: TutorialEvent): void {
        const who = (id: string | null) => this.name(id);
        switch (event.type) {
            case 'state_updated':
                if (!this.#away && !this.leads) {
                    const { state } = event;
                    announce(`${who(this.room.holder)}: step ${state.stepContent.index + 1} of ${state.totalSteps}, ${short(state.stepContent.title)}${state.isShowingSolution ? ', solution' : ''}.`);
                    toTop();
                }
                break;
            case 'control_changed': {
                const { holder } = event;
                if (holder === this.room.me) this.#away = undefined;
                announce(holder ? `${who(holder)} ${holder === this.room.me ? 'lead' : 'leads'} now.` : 'Nobody leads now.');
                break;
            }
            case 'control_offered':
                announce(`${who(event.from)} offers you the lead.`);
                break;
            case 'control_requested':
                announce(`${who(event.from)} asks for the lead.`);
                break;
            case 'holder_lost':
                toast(`${who(event.holder)} did not come back. Nobody leads now.`);
                break;
            case 'member_joined':
                announce(`${this.#named(event.member, event.member.id)} is here.`);
                break;
            case 'healing':
                announce('The connection is lost. Your place is kept.');
                break;
            case 'healed':
                toast('Back again, where you were.');
                break;
        }
    }

    async #outline(): Promise<void> {
        for (let wait = 500; !this.#dead; wait = Math.min(wait * 2, 8000)) {
            try {
                this.#steps = new Steps(await this.room.content.outline());
                this.refresh();
                return;
            } catch (error) {
                $('article').replaceChildren(h('p', { class: 'quiet' }, 'The steps cannot be read: ', error instanceof Error ? short(error.message, 200) : '', ' Trying again.'));
            }
            await new Promise((resolve) => setTimeout(resolve, wait));
        }
    }

    // ----------------------------------------------------------------------------- what is shown

    /** Shows what is now; once for everything that happens at a time. */
    refresh(): void {
        this.#show();
    }

    #show(): void {
        if (this.#dead) return;
        const { room } = this;
        const { members, holder, healing, phase, me } = room;
        const { offer, requests, cause } = room.control;
        // An own offer that was made before a reload is waited for, too.
        const pending = this.#pending ?? (offer?.from === me ? { what: 'offer' as const, of: offer.to ? this.name(offer.to) : 'everybody' } : undefined);
        const [place, led] = [this.place, this.led];
        const view: Dock = {
            role: this.leads ? 'leading' : holder ? 'following' : 'idle',
            holder, leader: this.name(holder), holderName: holder ? this.fullName(holder) : '', holderHealing: members.some((member) => member.id === holder && member.presence === 'healing'),
            followers: members.filter((member) => member.id !== me).length,
            observer: this.#options.observer, pending, healing, mayReturn: cause === 'offered' || cause === 'requested',
            place, led, away: this.away, count: this.#steps?.count ?? 0,
            hasSolution: Boolean(place && this.#steps?.hasSolution(place.index)),
            previous: Boolean(place && this.#steps?.beside(place, -1)), next: Boolean(place && this.#steps?.beside(place, 1)),
        };
        document.body.dataset['phase'] = phase;
        document.body.dataset['role'] = view.role;
        document.body.dataset['healing'] = String(healing);
        document.body.dataset['place'] = place ? `${place.index}${place.solution ? 's' : ''}` : '';
        this.#parts.title.show(this.#steps?.outline.title ?? room.state?.tutorialTitle, () => [short(this.#steps?.outline.title ?? room.state?.tutorialTitle ?? '', 120)]);
        this.#parts.link.show([healing], () => [
            h('span', { class: healing ? 'pill bad' : 'pill good' }, h('i', { 'aria-hidden': 'true' }), healing ? 'Reconnecting' : 'Connected'),
        ]);
        $('healing').hidden = !healing;
        this.#parts.dock.show(view, () => dock(view, this));
        this.#parts.people.show([members, holder, me, this.#options.link, this.leads], () => people(this, members, this.#options.link));
        this.#parts.list.show([this.#steps !== undefined, this.#steps?.count, place, led, holder], () => (this.#steps ? stepList(this, this.#steps) : []));
        this.#parts.asks.show([offer, requests, members.map(({ id, name }) => [id, name])], () => [
            offer && offer.from !== me && this.#ask(offer.from, `${this.name(offer.from)} offers you the lead`, 'You decide where everybody is then.',
                ['Take the lead', () => room.acceptControl(offer.offer)], ['Not now', () => room.declineControl(offer.offer)]),
            ...requests.map(({ request, from, reason }) => this.#ask(from, `${this.name(from)} asks for the lead`, reason ? `“${short(reason, 140)}”` : '',
                ['Hand it over', () => room.grantRequest(request)], ['Not now', () => room.denyRequest(request)])),
        ]);
        if (place && !same(place, this.#shown)) void this.#turnTo(place);
    }

    #ask(from: string, title: string, more: string, ...choices: [string, () => Promise<unknown>][]): HTMLElement {
        const box = h('section', { class: 'ask', role: 'alert', 'data-from': from },
            h('div', {}, h('b', { text: title }), more && h('p', { text: more })),
            h('div', { class: 'buttons' }, ...choices.map(([text, act], at) => h('button', { type: 'button', class: at === 0 ? 'primary' : '', 'data-key': `ask-${text}`, text, on: { click: () => {
                for (const button of box.querySelectorAll('button')) button.disabled = true;
                void this.#try(act);
            } } }))));
        return box;
    }

    /** Shows a step; the latest that was asked for wins. */
    async #turnTo(place: Place): Promise<void> {
        const turn = ++this.#turn;
        this.#shown = place;
        const article = $('article');
        // Nothing flickers for a step that is here already, or nearly.
        const slow = setTimeout(() => turn === this.#turn && article.setAttribute('aria-busy', 'true'), 120);
        const late = setTimeout(() => {
            if (turn !== this.#turn || this.#dead) return;
            article.removeAttribute('aria-busy');
            article.removeAttribute('data-place');
            article.replaceChildren(
                h('h1', { tabindex: -1, text: short(this.#steps?.at(place.index)?.title || 'This step', 300) }),
                h('p', { class: 'quiet', text: this.room.healing ? 'The text arrives when the connection is back.' : 'The text is on its way…' }));
        }, 1000);
        try {
            const page = await this.#pages.read(place);
            if (turn !== this.#turn || this.#dead) return;
            this.#fill(article, this.#lay(place, page));
            const next = this.#steps?.beside(place, 1);
            // Read ahead, so that turning the page waits for nobody.
            if (next) {
                void this.#pages.read(next).then((page) => idle(() => {
                    if (turn !== this.#turn || this.#dead) return;
                    this.#ahead?.end();
                    this.#ahead = undefined;
                    this.#ahead = this.#lay(next, page);
                })).catch(() => {});
            }
            if (this.#steps?.hasSolution(place.index)) void this.#pages.read({ ...place, solution: !place.solution }).catch(() => {});
        } catch (error) {
            if (turn !== this.#turn || this.#dead) return;
            article.replaceChildren(
                h('h1', { tabindex: -1, text: this.#steps?.at(place.index)?.title ?? 'This step' }),
                h('p', { class: 'quiet' }, 'It cannot be read: ', error instanceof Error ? short(error.message, 200) : String(error)),
                h('button', { type: 'button', text: 'Try again', on: { click: () => void this.#turnTo(place) } }));
        } finally {
            clearTimeout(slow);
            clearTimeout(late);
            if (turn === this.#turn) article.removeAttribute('aria-busy');
        }
    }

    #clear(): void {
        this.#laid?.end();
        this.#ahead?.end();
        this.#laid = this.#ahead = undefined;
    }

    /** Makes a step's nodes; ahead of time if it is likely to be the next. */
    #lay(place: Place, page: StepPage): Laid {
        if (this.#ahead && same(this.#ahead.place, place) && this.#ahead.page === page) {
            const laid = this.#ahead;
            this.#ahead = undefined;
            return laid;
        }
        let ended = false;
        const ends: (() => void)[] = [];
        const summary = this.#steps?.at(place.index);
        const title = short(page.title || summary?.title || 'Untitled', 300);
        const kind = place.solution ? 'solution' : (KIND[page.type] ? page.type : 'action');
        const section = summary?.section && summary.section !== title ? short(summary.section, 120) : '';
        const body = h('div', { class: 'prose' });
        body.append(lesson(page.markdown, title, {
            file: (path) => this.room.content.file(page.index, path),
            dispose: (end) => void (ended ? end() : ends.push(end)),
        }));
        if (!body.hasChildNodes() && page.files.length === 0) body.append(h('p', { class: 'quiet', text: 'There is nothing to read in this step.' }));
        const parts = [
            h('p', { class: 'kicker' },
                h('span', { class: `kind ${kind}`, text: KIND[kind] }),
                h('span', { text: `Step ${place.index + 1} of ${this.#steps?.count ?? '?'}` }),
                section && h('span', { class: 'section', text: section })),
            h('h1', { tabindex: -1, text: title }),
            body,
            changes(page.files),
        ];
        return {
            place, page, title, kind,
            nodes: parts.filter((part) => part !== undefined),
            end: () => {
                ended = true;
                for (const end of ends.splice(0)) end();
            },
        };
    }

    #fill(article: HTMLElement, laid: Laid): void {
        const { place, title, kind } = laid;
        this.#laid?.end();
        this.#laid = laid;
        article.replaceChildren(...laid.nodes);
        article.dataset['place'] = `${place.index}${place.solution ? 's' : ''}`;
        article.dataset['kind'] = kind;
        document.title = `${title} · ${short(this.#steps?.outline.title ?? 'Tutorial', 60)}`;
    }
}
