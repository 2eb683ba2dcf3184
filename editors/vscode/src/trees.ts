import * as vscode from 'vscode';

import type { Session } from './session.js';
import type { Member, StepSummary } from './sync.js';
import { showsSolution, stopOf, stops } from './walk.js';

type Node = { readonly section: string; readonly steps: readonly StepSummary[] } | { readonly step: StepSummary };

const icons: Record<string, string> = { section: 'book', template: 'edit', solution: 'lightbulb', action: 'tools' };

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
        return state && outline ? this.#steps.get(stopOf(outline, state.stepContent.index)) : undefined;
    }

    getChildren(node?: Node): Node[] {
        if (!node) return [...this.#nodes];
        return 'section' in node ? node.steps.map((step) => this.#steps.get(step.index)!) : [];
    }

    getParent(node: Node): Node | undefined {
        return 'section' in node ? undefined : this.#nodes.find((other) => 'section' in other && other.steps.includes(node.step));
    }

    getTreeItem(node: Node): vscode.TreeItem {
        if ('section' in node) {
            const item = new vscode.TreeItem(node.section, vscode.TreeItemCollapsibleState.Expanded);
            item.id = `section/${node.steps[0]!.index}`;
            return item;
        }
        const { step } = node;
        const { state, outline } = this.#session.view;
        const shown = state && outline && stopOf(outline, state.stepContent.index) === step.index;
        const solution = shown && showsSolution(state);
        const item = new vscode.TreeItem(step.title);
        item.id = `step/${step.index}`;
        item.contextValue = shown ? 'shown' : 'step';
        item.iconPath = shown
            ? new vscode.ThemeIcon(solution ? 'lightbulb' : 'arrow-right', new vscode.ThemeColor(solution ? 'charts.green' : 'charts.blue'))
            : new vscode.ThemeIcon(icons[step.type] ?? 'circle-outline');
        item.description = shown ? (solution ? 'solution shown' : 'shown now') : step.type;
        item.tooltip = `Step ${step.index + 1}, ${step.type}${step.commitHash ? `, commit ${step.commitHash.slice(0, 8)}` : ''}`;
        item.accessibilityInformation = { label: `Step ${step.index + 1}, ${step.title}, ${item.description}` };
        item.command = { command: 'everlink.goToStep', title: 'Go to step', arguments: [step.index] };
        return item;
    }

    #build(): readonly Node[] {
        const { outline, state, status } = this.#session.view;
        this.#steps.clear();
        if (status !== 'in') return [];
        if (!outline) {
            if (!state) return [];
            const { stepContent } = state;
            const only: Node = { step: { ...stepContent, section: null } };
            this.#steps.set(stepContent.index, only);
            return [only];
        }
        const nodes: Node[] = [];
        let section: { section: string; steps: StepSummary[] } | undefined;
        for (const step of stops(outline)) {
            const node: Node = { step };
            this.#steps.set(step.index, node);
            if (step.type === 'section') {
                section = { section: step.title, steps: [step] };
                nodes.push(section);
            } else if (section) {
                section.steps.push(step);
            } else {
                nodes.push(node);
            }
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
