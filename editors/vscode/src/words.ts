import type { Session, View } from './session.js';
import type { StepType } from './sync.js';
import { showsSolution } from './walk.js';

/** What the status bar says: what I am, who leads, where we are. */
export interface Status {
    readonly text: string;
    readonly tooltip: string;
    readonly warning: boolean;
}

export function status(session: Session): Status {
    const view = session.view;
    if (view.status === 'out') return { text: '$(mortar-board) Tutorial', tooltip: 'Join a tutorial', warning: false };
    if (view.status === 'joining') {
        const what = view.state ? 'Rejoining' : 'Joining';
        return { text: `$(sync~spin) ${what} tutorial…`, tooltip: 'Connecting to the host of the tutorial', warning: false };
    }
    const where = place(view);
    const suffix = where ? ` · ${where}` : '';
    const tooltip = [view.state?.tutorialTitle, session.lock()].filter(Boolean).join('\n\n');
    if (view.healing) {
        const role = view.role === 'leading' ? 'still leading' : view.role === 'following' ? 'still following' : 'in no role';
        return {
            text: `$(sync~spin) Reconnecting, ${role}${suffix}`,
            tooltip: `The connection to the host was lost and is being restored. Your role is kept meanwhile.\n\n${tooltip}`,
            warning: true,
        };
    }
    if (view.offering) return { text: `$(live-share) Leading, control offered${suffix}`, tooltip, warning: false };
    if (view.requesting) return { text: `$(arrow-swap) Asking ${leader(session)} for control${suffix}`, tooltip, warning: false };
    switch (view.role) {
        case 'leading':
            return { text: `$(broadcast) You lead${suffix}`, tooltip, warning: false };
        case 'following':
            return { text: `$(eye) ${view.holder ? `Following ${leader(session)}` : 'Following, nobody leads'}${suffix}`, tooltip, warning: false };
        default:
            return { text: `$(mortar-board) ${view.holder ? `${leader(session)} leads` : 'Nobody leads'}${suffix}`, tooltip, warning: false };
    }
}

/** What a step is for, to people; as the page in the browser says it. */
export function kindOf(type: StepType): string {
    return { section: 'Chapter', template: 'Exercise', solution: 'Solution', action: 'Step' }[type] ?? 'Step';
}

/** Who leads, as a name, said of a peer who is away. */
export function leader(session: Session): string {
    const { holder, members } = session.view;
    const away = members.find((member) => member.id === holder)?.presence === 'healing';
    return away ? `${session.name(holder)} (away)` : session.name(holder);
}

/** `3/9`, counted as everywhere: of all steps. */
export function place(view: View): string | undefined {
    const { state } = view;
    if (!state) return undefined;
    const solution = showsSolution(state) ? ' solution' : '';
    return `${state.stepContent.index + 1}/${state.totalSteps}${solution}`;
}

/** `Step 3` or `Step 3, solution`, as titles and messages say it. */
export function stepName(view: View): string {
    const { state } = view;
    return state ? `Step ${state.stepContent.index + 1}${showsSolution(state) ? ', solution' : ''}` : 'Step';
}
