import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

import * as vscode from 'vscode';

import { UserError } from './errors.js';

/** What to open when the tutorial moves. */
export type OnStep = 'lessonAndFiles' | 'lesson' | 'files' | 'diff' | 'nothing';

function get<T>(name: string, or: T): T {
    return vscode.workspace.getConfiguration('everlink').get<T>(name, or);
}

export const settings = {
    server: (): string => get('server', ''),
    name: (): string => get('name', '').trim().slice(0, 64),
    followAutomatically: (): boolean => get('followAutomatically', true),
    onStep: (): OnStep => get<OnStep>('onStep', 'lessonAndFiles'),
    iceServers: (): readonly unknown[] => {
        const servers = get<unknown>('iceServers', []);
        return Array.isArray(servers) ? servers : [];
    },
    /** @throws {UserError} `no-folder` if it is not absolute */
    workFolder: (): string | undefined => {
        const folder = get('workFolder', '').trim();
        if (!folder) return undefined;
        const path = folder === '~' ? homedir() : folder.startsWith('~/') ? join(homedir(), folder.slice(2)) : folder;
        if (isAbsolute(path)) return path;
        throw new UserError('no-folder', `The setting “everlink.workFolder” must be an absolute path, and is “${folder}”.`);
    },
};
