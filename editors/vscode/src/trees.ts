import * as vscode from 'vscode';

import type { Session } from './session.js';
import type { Member, StepSummary, StepType } from './sync.js';
import { showsSolution, stopOf, stops } from './walk.js';
import { kindOf } from './words.js';

/** A step; that of a section has those of the section below it. */
interface Node {
    readonly step: StepSummary;
    readonly parent: Node | undefined;
    readonly below: Node[];
}

const icons: Record<StepType, string> = { section: 'book', template: 'edit', solution: 'lightbulb', action: 'tools' };

/** The steps, in their sections; the one that is shown is marked. */
export class StepsTree implements vscode.TreeDataProvider<Node> {
    #session: Session;
    #changed = new vscode.EventEmitter<undefined>();
    #nodes: readonly Node[] = [];
    #steps = new Map<number, Node>();

    readonly onDidChangeTreeData = this.#changed.event;

    constructor(session: Session) {
        this.#session = session;
    }

    /** Reads the session anew. */
    refresh(): void {
        this.#nodes = this.#build();
        this.#changed.fire(undefined);
    }

    /** The node of the step that is shown. */
    current(): Node | undefined {
        const { state, outline } = this.#session.view;
        const index = state?.stepContent.index;
        return index === undefined ? undefined : this.#steps.get(outline ? stopOf(outline, index) : index);
    }

    getChildren(node?: Node): Node[] {
        return [...(node ? node.below : this.#nodes)];
    }

    getParent(node: Node): Node | undefined {
        return node.parent;
    }

    getTreeItem({ step, below }: Node): vscode.TreeItem {
        const { state, outline } = this.#session.view;
        const shown = state !== undefined && (outline ? stopOf(outline, state.stepContent.index) : state.stepContent.index) === step.index;
        const solution = shown && showsSolution(state);
        const { None, Expanded } = vscode.TreeItemCollapsibleState;
        const item = new vscode.TreeItem(step.title, below.length ? Expanded : None);
        item.id = `step/${step.index}`;
        item.contextValue = shown ? 'shown' : 'step';
        item.iconPath = shown
            ? new vscode.ThemeIcon(solution ? 'lightbulb' : 'arrow-right', new vscode.ThemeColor(solution ? 'charts.green' : 'charts.blue'))
            : new vscode.ThemeIcon(icons[step.type] ?? 'circle-outline');
        if (shown) item.description = solution ? 'solution shown' : 'shown now';
        else if (step.type === 'template') item.description = kindOf(step.type).toLowerCase();
        item.tooltip = `${kindOf(step.type)}, step ${step.index + 1}${step.commitHash ? `, commit ${step.commitHash.slice(0, 8)}` : ''}`;
        item.accessibilityInformation = { label: `Step ${step.index + 1}, ${step.title}${item.description ? `, ${item.description}` : ''}` };
        // Of its own, so that it is not greyed out for whoever follows: then it says who leads.
        item.command = { command: 'everlink.stepClicked', title: 'Show this step', arguments: [step.index] };
        return item;
    }

    #build(): readonly Node[] {
        const { outline, state, status } = this.#session.view;
        this.#steps.clear();
        if (status !== 'in') return [];
        const steps = outline ? stops(outline) : state ? [state.stepContent] : [];
        const nodes: Node[] = [];
        let section: Node | undefined;
        for (const step of steps) {
            const parent = step.type === 'section' ? undefined : section;
            const node: Node = { step, parent, below: [] };
            this.#steps.set(step.index, node);
            (parent?.below ?? nodes).push(node);
            if (step.type === 'section') section = node;
        }
        return nodes;
    }
}

const roles: Record<Member['role'], string> = { leader: 'leads', follower: 'follows', observer: 'watches', moderator: 'moderates' };

/** Who is there, and as what. */
export class PeopleTree implements vscode.TreeDataProvider<Member> {
    #session: Session;
    #changed = new vscode.EventEmitter<undefined>();

    readonly onDidChangeTreeData = this.#changed.event;

    constructor(session: Session) {
        this.#session = session;
    }

    refresh(): void {
        this.#changed.fire(undefined);
    }

    getChildren(member?: Member): Member[] {
        return member ? [] : [...this.#session.view.members];
    }

    getTreeItem(member: Member): vscode.TreeItem {
        const { me, holder, role } = this.#session.view;
        const mine = member.id === me;
        const leads = member.id === holder;
        const name = member.name?.trim() || `${member.id.slice(0, 8)}…`;
        const item = new vscode.TreeItem(mine ? `${name} (you)` : name);
        const does = leads ? 'leads' : mine ? (role === 'following' ? 'follows' : 'waits') : member.role === 'leader' ? 'waits' : roles[member.role];
        item.id = member.id;
        item.contextValue = mine ? 'me' : 'other';
        item.description = member.presence === 'healing' ? `${does}, reconnecting` : does;
        const icon = member.presence === 'healing' ? 'sync~spin' : leads ? 'broadcast' : 'account';
        item.iconPath = new vscode.ThemeIcon(icon, leads ? new vscode.ThemeColor('charts.green') : undefined);
        // A name is what somebody calls itself; the key is who it is.
        item.tooltip = `Key ${member.id}${member.moderator ? '\nModerator: may take control away' : ''}`;
        return item;
    }
}
