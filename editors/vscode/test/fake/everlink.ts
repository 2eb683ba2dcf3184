// In place of src/everlink.ts when the extension is built with --fake: a room in memory, in which Ada leads. POST to the
// port of EVERLINK_FAKE what Ada does: `goto 3`, `solution`, `offer`, `grant`, `cut`, `heal`, `request`.
import { createServer } from 'node:http';

import type { Join } from '../../src/sync.js';
import { stateAt } from '../../src/walk.js';
import { FakeContent, FakeRoom } from './room.js';

const room = new FakeRoom(new FakeContent());
const ada = room.enter('ada-0123456789', 'Ada');

export const join: Join = async (where, guest) => {
    const outline = await room.content.outline();
    if (room.holder === null && room.state === null) {
        await ada.lead();
        ada.sendState(stateAt(outline, outline.steps[2]!, false, 'hello'));
    }
    return room.join(where, guest);
};

createServer((request, response) => {
    let text = '';
    request.on('data', (piece: Buffer) => (text += piece.toString()));
    request.on('end', async () => {
        const [what, argument] = text.trim().split(' ');
        const outline = await room.content.outline();
        const other = room.members.find((member) => member !== ada);
        const now = room.state?.stepContent.index ?? 0;
        if (what === 'goto') ada.sendState(stateAt(outline, outline.steps[Number(argument)]!, false, 'hello'));
        if (what === 'solution') ada.sendState(stateAt(outline, outline.steps[now]!, true, 'hello'));
        if (what === 'offer') void ada.offerControl(other?.me);
        if (what === 'grant') await ada.grantRequest(room.requests[0]!.id);
        if (what === 'request') void ada.requestControl('may I?').catch(() => {});
        if (what === 'cut' || what === 'heal') {
            other!.healing = what === 'cut';
            room.tell({ type: 'other' });
        }
        response.end(JSON.stringify({ holder: room.holder, state: room.state }));
    });
}).listen(Number(process.env['EVERLINK_FAKE'] ?? 0), '127.0.0.1').unref();
