// A room that is not there: it does at once what is asked of it, and tells what it was asked.
import type { TutorialEvent } from '../../src/tutorial/events.js';
import type { ControlCause, Member, OfferOutcome, Phase, TutorialSyncState } from '../../src/tutorial/types.js';
import type { Room } from '../../pages/tutorial/room.js';
import { outline, page } from './fixture.js';

export class Fake implements Room {
    me = 'kMe1';
    phase: Phase = 'connected_idle';
    healing = false;
    state: TutorialSyncState | null = null;
    members: Member[] = [];
    holder: string | null = null;
    offer: { offer: number; from: string } | null = null;
    cause: ControlCause = 'led';
    requests: { request: number; from: string; reason?: string }[] = [];
    asked: string[] = [];
    answer: OfferOutcome | 'never' = 'never';
    readonly #waiting: ((event: TutorialEvent | undefined) => void)[] = [];
    readonly #queue: (TutorialEvent | undefined)[] = [];

    get control() {
        return { epoch: 1, holder: this.holder, cause: this.cause, offer: this.offer, requests: this.requests };
    }

    content: Room['content'] = {
        outline: async () => outline,
        step: async (index: number, solution = false) => page(index, solution),
        file: async (_: number, path: string) => Promise.reject(new Error(`no ${path}`)),
    };

    tell(event: TutorialEvent | undefined): void {
        const waiting = this.#waiting.shift();
        if (waiting) waiting(event);
        else this.#queue.push(event);
    }

    async *events({ signal }: { signal?: AbortSignal | undefined } = {}): AsyncIterableIterator<TutorialEvent> {
        while (!signal?.aborted) {
            const event = this.#queue.length > 0 ? this.#queue.shift() : await new Promise<TutorialEvent | undefined>((resolve) => this.#waiting.push(resolve));
            if (event === undefined) return;
            yield event;
        }
    }

    /** Somebody moves everybody. */
    at(index: number, solution = false): void {
        const { id, title, commitHash, type } = outline.steps[index]!;
        this.state = {
            tutorialId: 'remember', tutorialTitle: outline.title, totalSteps: outline.steps.length, isShowingSolution: solution,
            stepContent: { id, title, commitHash, type, index },
        };
        this.tell({ type: 'state_updated', state: this.state });
    }

    give(holder: string | null, cause: ControlCause = 'offered'): void {
        this.cause = cause;
        this.holder = holder;
        this.phase = holder === this.me ? 'active' : holder ? 'passive' : 'connected_idle';
        this.members = this.members.map((member) => ({ ...member, role: member.id === holder ? 'leader' : member.role === 'leader' ? 'follower' : member.role }));
        this.tell({ type: 'control_changed', epoch: 2, holder, cause });
    }

    async lead() {
        this.asked.push('lead');
        this.give(this.me, 'led');
    }
    sendState(state: TutorialSyncState) {
        this.asked.push(`send ${state.stepContent.index}${state.isShowingSolution ? 's' : ''}`);
        this.state = state;
    }
    async offerControl(to?: string): Promise<OfferOutcome> {
        this.asked.push(`offer ${to ?? '*'}`);
        const { answer } = this;
        if (answer === 'never') return new Promise(() => {});
        return answer;
    }
    async withdrawOffer() {
        this.asked.push('withdraw');
    }
    async acceptControl(offer: number) {
        this.asked.push(`accept ${offer}`);
        this.offer = null;
        this.give(this.me, 'offered');
    }
    async declineControl(offer: number) {
        this.asked.push(`decline ${offer}`);
        this.offer = null;
        this.tell({ type: 'offer_ended', offer });
    }
    async requestControl(_?: string, { signal }: { signal?: AbortSignal | undefined } = {}) {
        this.asked.push('request');
        await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    }
    async grantRequest(request: number) {
        this.asked.push(`grant ${request}`);
        const { from } = this.requests[0]!;
        this.requests = [];
        this.give(from, 'requested');
    }
    async denyRequest(request: number) {
        this.asked.push(`deny ${request}`);
        this.requests = [];
        this.tell({ type: 'request_ended', request });
    }
    async releaseControl() {
        this.asked.push('release');
        this.give(null, 'released');
    }
    async returnControl() {
        this.asked.push('return');
    }
    async revokeControl() {
        this.asked.push('revoke');
    }
    async leave() {
        this.asked.push('leave');
        this.tell({ type: 'left', reason: { code: 'by_itself', message: 'left the room' } });
    }
}
