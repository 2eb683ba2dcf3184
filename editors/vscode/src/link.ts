import { UserError } from './errors.js';
import type { Room } from './sync.js';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * What somebody pasted: `everlink://UUID?server=URL`, `URL/tutorial#UUID`, or a uuid alone, of which the settings say the
 * server.
 * @throws {UserError} `bad-link`, `no-server`
 */
export function parseLink(text: string, server: string): Room {
    const trimmed = text.trim();
    if (uuid.test(trimmed)) return { server: own(server), uuid: trimmed.toLowerCase() };
    let url: URL;
    try {
        url = new URL(trimmed);
    } catch {
        throw bad();
    }
    if (url.protocol === 'everlink:') {
        const room = url.host || url.pathname.replace(/^\/+/, '');
        if (!uuid.test(room)) throw bad();
        const named = url.searchParams.get('server');
        return { server: named ? address(named) : own(server), uuid: room.toLowerCase() };
    }
    if (url.protocol === 'https:' || url.protocol === 'http:') {
        const room = decodeURIComponent(url.hash.slice(1).split(/[?&]/)[0] ?? '');
        const path = /^(.*)\/tutorial(?:\/(?:index\.html)?)?$/.exec(url.pathname);
        if (!path || !uuid.test(room)) throw bad();
        return { server: `${url.origin}${path[1]}`, uuid: room.toLowerCase() };
    }
    throw bad();
}

/** A link that names the server, to hand on. */
export function formatLink(room: Room): string {
    return `everlink://${room.uuid}?server=${encodeURIComponent(room.server)}`;
}

/**
 * A server's address as it is compared and used: no slash at its end.
 * @throws {UserError} `bad-server`
 */
export function address(text: string): string {
    let url: URL;
    try {
        url = new URL(text.trim());
    } catch {
        throw new UserError('bad-server', `“${shorten(text)}” is no address of a server: it must begin with https:// or http://.`);
    }
    if (url.protocol !== 'https:' && url.protocol !== 'http:') {
        throw new UserError('bad-server', `“${shorten(text)}” is no address of a server: it must begin with https:// or http://.`);
    }
    if (url.username || url.password) {
        throw new UserError('bad-server', 'The address of the server must not contain a password.');
    }
    return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

function own(server: string): string {
    if (server.trim()) return address(server);
    const message = 'A uuid alone does not say which server it is at: paste the whole link, or set “everlink.server”.';
    throw new UserError('no-server', message);
}

function bad(): UserError {
    const message = 'This is no link to a tutorial: one looks like everlink://UUID?server=URL or https://HOST/tutorial#UUID.';
    return new UserError('bad-link', message);
}

function shorten(text: string): string {
    return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
