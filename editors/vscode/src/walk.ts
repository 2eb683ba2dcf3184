import type { Outline, StepSummary, TutorialSyncState } from './sync.js';

/** Which steps there are to go to, one after another: all but the solutions, which are shown at their template. */
export function stops(outline: Outline): readonly StepSummary[] {
    return outline.steps.filter((step, at) => !isSolutionOf(outline.steps[at - 1], step));
}

/** The solution of a template, if it has one. */
export function solutionOf(outline: Outline, index: number): StepSummary | undefined {
    const after = outline.steps[index + 1];
    return after && isSolutionOf(outline.steps[index], after) ? after : undefined;
}

/** The stop at which a step is shown: itself, or the template of a solution. */
export function stopOf(outline: Outline, index: number): number {
    const step = outline.steps[index];
    return step && isSolutionOf(outline.steps[index - 1], step) ? index - 1 : index;
}

/** The stop before (-1) or after (1). */
export function neighbour(outline: Outline, index: number, direction: -1 | 1): StepSummary | undefined {
    const all = stops(outline);
    const at = stopOf(outline, index);
    return direction > 0 ? all.find((step) => step.index > at) : all.findLast((step) => step.index < at);
}

/** Where a state points: the step at which files and text are, which for a solution that is shown is the solution's own. */
export function shownIndex(outline: Outline | undefined, state: TutorialSyncState): number {
    const at = state.stepContent.index;
    return (state.isShowingSolution && outline && solutionOf(outline, at)?.index) || at;
}

/** Whether the solution is what a state shows. */
export function showsSolution(state: TutorialSyncState): boolean {
    return state.isShowingSolution || state.stepContent.type === 'solution';
}

/** The state that shows a step to everybody. */
export function stateAt(outline: Outline, step: StepSummary, solution: boolean, tutorialId: string): TutorialSyncState {
    const repoUrl = outline.repoUrl;
    return {
        tutorialId,
        tutorialTitle: outline.title,
        totalSteps: outline.steps.length,
        isShowingSolution: solution,
        stepContent: { id: step.id, title: step.title, commitHash: step.commitHash, type: step.type, index: step.index },
        ...(repoUrl ? { repoUrl } : {}),
    };
}

function isSolutionOf(before: StepSummary | undefined, step: StepSummary): boolean {
    return step.type === 'solution' && before?.type === 'template';
}
