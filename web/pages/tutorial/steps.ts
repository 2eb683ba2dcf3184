// Places in a tutorial. A solution that follows its template is part of it: it is shown there, and `next` goes past it.
import type { Outline, StepPage, StepSummary, TutorialSyncState } from '../../src/tutorial/types.js';
import type { Content } from './room.js';

export interface Place {
    readonly index: number;
    readonly solution: boolean;
}

export const same = (one: Place | undefined, two: Place | undefined) =>
    one?.index === two?.index && one?.solution === two?.solution;

export class Steps {
    constructor(readonly outline: Outline) {}

    get count(): number {
        return this.outline.steps.length;
    }

    at(index: number): StepSummary | undefined {
        return this.outline.steps[index];
    }

    /** Whether the step has a solution that can be shown in its place. */
    hasSolution(index: number): boolean {
        return this.at(index)?.type === 'template' && this.at(index + 1)?.type === 'solution';
    }

    #folded(index: number): boolean {
        return index > 0 && this.hasSolution(index - 1);
    }

    /** The place by its one name: a solution's is its template's. */
    place(index: number, solution = false): Place {
        const inside = Math.min(Math.max(0, index), Math.max(0, this.count - 1));
        if (this.#folded(inside)) return { index: inside - 1, solution: true };
        return { index: inside, solution: solution && this.hasSolution(inside) };
    }

    /** The place beside, or `undefined` at the end. */
    beside({ index }: Place, by: 1 | -1): Place | undefined {
        let to = index + by;
        if (this.#folded(to)) to += by;
        return this.at(to) && { index: to, solution: false };
    }

    last(): Place {
        const { index } = this.place(this.count - 1);
        return { index, solution: false };
    }

    /** As it travels. */
    state({ index, solution }: Place, before: TutorialSyncState | null, room: string): TutorialSyncState | undefined {
        const step = this.at(index);
        if (!step) return undefined;
        const { id, title, commitHash, type } = step;
        const repoUrl = this.outline.repoUrl ?? before?.repoUrl;
        return {
            tutorialId: before?.tutorialId ?? room,
            tutorialTitle: this.outline.title,
            totalSteps: this.count,
            isShowingSolution: solution,
            stepContent: { id, title, commitHash, type, index },
            ...(typeof repoUrl === 'string' ? { repoUrl } : {}),
        };
    }
}

/** How many steps are kept. */
const KEPT = 24;

/** The steps that were read, and the next one read ahead, so that turning a page does not wait for the host. */
export class Pages {
    readonly #kept = new Map<string, Promise<StepPage>>();

    constructor(readonly content: Content) {}

    read({ index, solution }: Place): Promise<StepPage> {
        const key = `${index} ${solution}`;
        let page = this.#kept.get(key);
        this.#kept.delete(key);
        if (!page) {
            page = this.content.step(index, solution);
            // What failed may work the next time.
            page.catch(() => this.#kept.delete(key));
        }
        this.#kept.set(key, page);
        const [oldest] = this.#kept.keys();
        if (this.#kept.size > KEPT && oldest !== undefined) this.#kept.delete(oldest);
        return page;
    }
}
