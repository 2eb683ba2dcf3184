import { ArgumentError } from '../errors.js';

/** What a link to a room says. */
export interface TutorialLink {
    /** The room's uuid. */
    readonly room: string;
    /** The signaling server, if the link says it. */
    readonly server?: string;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Reads a link: `everlink://UUID?server=URL`, `URL/tutorial#UUID`, or the uuid alone.
 * @throws {@link ArgumentError} `bad-link`
 */
export function parseLink(link: string): TutorialLink {
    const told = link.trim();
    const own = /^everlink:\/\/([^/?#]+)\/?(?:\?([^#]*))?$/i.exec(told);
    const web = /^(https?:\/\/[^#]+?)\/tutorial\/?(?:\?[^#]*)?#(.+)$/i.exec(told);
    const room = (own?.[1] ?? web?.[2] ?? told).toLowerCase();
    if (!UUID.test(room)) {
        const message = 'this is no link to a room: it must be a uuid, everlink://UUID?server=URL, or https://SERVER/tutorial#UUID';
        throw new ArgumentError({ code: 'bad-link', message });
    }
    const server = own ? new URLSearchParams(own[2] ?? '').get('server') : web?.[1];
    return server ? { room, server } : { room };
}

/** @internal The uuid of a link. */
export function roomOf(link: string): string {
    return parseLink(link).room;
}
