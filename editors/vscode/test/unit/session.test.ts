import assert from 'node:assert/strict';
import test from 'node:test';

import { Session, type Notice, type Remembered } from '../../src/session.js';
import { stateAt } from '../../src/walk.js';
import { status } from '../../src/words.js';
import { FakeContent, FakeRoom, Refusal } from '../fake/room.js';

const where = { server: 'http://127.0.0.1:3000', uuid: '00000000-0000-4000-8000-000000000001' };
const guest = { name: 'Grace', secret: new Uint8Array(32).fill(7), iceServers: [] };

/** Until everything that is due has run. */
const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

function world() {
    const room = new FakeRoom(new FakeContent());
    const ada = room.enter('ada-key-00', 'Ada');
    const waited: number[] = [];
    const open = () => {
        const session = new Session(room.join, async (ms, signal) => {
            waited.push(ms);
            signal.throwIfAborted();
        });
        const notices: Notice[] = [];
        const remembered: { last: Remembered | undefined } = { last: undefined };
        session.onNotice = (notice) => notices.push(notice);
        session.onRemember = (what) => (remembered.last = what);
        const text = () => status(session).text.replace(/\$\([^)]*\) /g, '');
        return { session, notices, remembered, text };
    };
    const show = async (index: number, solution = false) => {
        const outline = await room.content.outline();
        ada.sendState(stateAt(outline, outline.steps[index]!, solution, 'hello'));
    };
    return { room, ada, open, show, waited };
}

test('whoever joins follows, and sees each step of the leader', async () => {
    const { ada, open, show } = world();
    await ada.lead();
    await show(0);
    const { session, text } = open();
    await session.join(where, guest, true);
    await settle();
    assert.equal(text(), 'Following Ada · 1/8');
    await show(2, true);
    await settle();
    assert.equal(text(), 'Following Ada · 3/8 solution');
    assert.equal(session.view.outline?.steps.length, 8);
});

test('with nobody there one may lead, and the first step is shown', async () => {
    const { open, room } = world();
    const { session, text } = open();
    await session.join(where, guest, false);
    await settle();
    assert.equal(text(), 'Nobody leads');
    assert.throws(() => session.move(1), { code: 'locked', message: 'Nobody leads. Lead, to choose the step for everybody.' });
    await session.lead();
    await settle();
    assert.equal(text(), 'You lead · 1/8');
    assert.equal(room.state?.stepContent.title, 'A greeting');
    assert.equal(room.state?.tutorialId, where.uuid);
});

test('steps: solutions are shown at their template, and the ends are told', async () => {
    const { open, room } = world();
    const { session } = open();
    await session.join(where, guest, false);
    await settle();
    await session.lead();
    await settle();
    assert.throws(() => session.move(-1), { code: 'no-step' });
    assert.throws(() => session.solution(true), { code: 'no-solution' });
    session.move(1);
    session.move(1);
    session.solution(true);
    assert.deepEqual([room.state?.stepContent.index, room.state?.isShowingSolution], [2, true]);
    session.solution(true);
    session.move(1);
    assert.deepEqual([room.state?.stepContent.index, room.state?.isShowingSolution], [4, false]);
    session.move(-1);
    session.solution(true);
    session.solution(false);
    assert.deepEqual([room.state?.stepContent.index, room.state?.isShowingSolution], [2, false]);
});

test('who follows cannot move, and is told who leads', async () => {
    const { ada, open } = world();
    await ada.lead();
    const { session } = open();
    await session.join(where, guest, true);
    await settle();
    assert.throws(() => session.move(1), { code: 'locked', message: 'Ada leads and chooses the step. Ask for control to choose it yourself.' });
    assert.equal(session.canNavigate, false);
});

test('an offer is told once, accepted, and control changes', async () => {
    const { ada, open, show, room } = world();
    await ada.lead();
    await show(2);
    const { session, notices, text } = open();
    await session.join(where, guest, true);
    const outcome = ada.offerControl(session.view.me);
    await settle();
    assert.deepEqual(notices.map((notice) => notice.type), ['asked']);
    await session.accept(session.view.asks[0]!);
    assert.equal((await outcome).outcome, 'accepted');
    await settle();
    assert.equal(text(), 'You lead · 3/8');
    assert.equal(room.holder, session.view.me);
    session.move(1);
    assert.equal(room.state?.stepContent.index, 4);
    assert.deepEqual(session.view.asks, []);
});

test('an offer that ended is no longer there, and accepting it says so', async () => {
    const { ada, open } = world();
    await ada.lead();
    const { session } = open();
    await session.join(where, guest, true);
    void ada.offerControl(session.view.me);
    await settle();
    const [ask] = session.view.asks;
    await ada.withdrawOffer();
    await settle();
    assert.deepEqual(session.view.asks, []);
    await assert.rejects(session.accept(ask!), { code: 'ended' });
});

test('a request: asked, denied with a reason, asked again, granted', async () => {
    const { ada, room, open } = world();
    await ada.lead();
    const { session, text } = open();
    await session.join(where, guest, true);
    const first = session.lead();
    await settle();
    assert.equal(text(), 'Asking Ada for control');
    await assert.rejects(session.request(), { code: 'requesting' });
    await ada.denyRequest(room.requests[0]!.id, 'not yet');
    await assert.rejects(first, { message: 'denied by the leader: not yet' });
    const second = session.request();
    await settle();
    await ada.grantRequest(room.requests[0]!.id);
    await second;
    assert.equal(session.view.role, 'leading');
});

test('whoever leads is asked, hands over, and follows', async () => {
    const { ada, open } = world();
    const { session, notices, text } = open();
    await session.join(where, guest, false);
    await settle();
    await session.lead();
    const asked = ada.requestControl('may I?');
    await settle();
    assert.equal(session.view.asks[0]?.reason, 'may I?');
    await session.accept(session.view.asks[0]!);
    await asked;
    await settle();
    assert.equal(text(), 'Following Ada · 1/8');
    assert.equal(notices.at(-1)?.type, 'following');
});

test('an offer of one’s own: pending, declined, still leading', async () => {
    const { room, ada, open } = world();
    const { session, text } = open();
    await session.join(where, guest, false);
    await settle();
    await assert.rejects(session.offer(), { code: 'not-leading' });
    await session.lead();
    const outcome = session.offer(ada.me);
    await settle();
    assert.match(text(), /^Leading, control offered/);
    await ada.declineControl(room.offer!.id, 'later');
    assert.deepEqual(await outcome, { outcome: 'declined', name: 'Ada', reason: 'later' });
    assert.equal(session.view.role, 'leading');
    await session.release();
    assert.equal(session.view.role, 'idle');
});

test('healing is shown, and the role is kept', async () => {
    const { room, ada, open, show } = world();
    await ada.lead();
    await show(1);
    const { session, text } = open();
    await session.join(where, guest, true);
    const mine = room.members.find((member) => member.me === session.view.me)!;
    mine.vanish();
    await settle();
    assert.equal(text(), 'Reconnecting, still following · 2/8');
    mine.healing = false;
    ada.vanish();
    await settle();
    assert.equal(text(), 'Following Ada (away) · 2/8');
});

for (const role of ['leading', 'following'] as const) {
    test(`after a reload one is ${role} again`, async () => {
        const { ada, open, room, show } = world();
        await ada.lead();
        await show(4);
        const first = open();
        await first.session.join(where, guest, true);
        await settle();
        if (role === 'leading') ada.room.give(first.session.view.me!);
        await settle();
        assert.equal(first.remembered.last?.role, role);

        // Killed: it does not leave. The room has the new one take its place.
        first.session.onRemember = () => {};
        const second = open();
        await second.session.join(where, guest, true, first.remembered.last);
        await settle();
        assert.equal(second.session.view.role, role);
        assert.equal(room.state?.stepContent.index, 4);
    });
}

test('after a reload that took longer than the lease, who led leads again if nobody else does', async () => {
    const { open, room, show, ada } = world();
    await ada.lead();
    await show(4);
    await ada.leave();
    assert.equal(room.holder, null);
    const { session } = open();
    await session.join(where, guest, true, { room: where, role: 'leading', state: room.state! });
    assert.equal(session.view.role, 'leading');
    assert.equal(room.state?.stepContent.index, 4);
});

test('after a reload a room that cannot be reached yet is waited for; one that is gone is not', async () => {
    const { open, room, waited } = world();
    room.failures = [new Refusal('unreachable'), new Refusal('timed-out')];
    const { session } = open();
    const again: Remembered = { room: where, role: 'following' };
    await session.join(where, guest, true, again);
    assert.deepEqual(waited, [1000, 2000]);
    await session.leave();

    room.failures = [new Refusal('service-not-found')];
    await assert.rejects(session.join(where, guest, true, again), { code: 'service-not-found' });
    assert.equal(session.view.status, 'out');
});

test('without a reload a failure is told at once, and leaves nothing behind', async () => {
    const { open, room } = world();
    room.failures = [new Refusal('unreachable')];
    const { session, remembered } = open();
    await assert.rejects(session.join(where, guest, true), { code: 'unreachable' });
    assert.equal(session.view.status, 'out');
    assert.equal(remembered.last, undefined);
});

test('leaving: nothing is remembered, and what waits for the room is told', async () => {
    const { open, room } = world();
    const { session, remembered, text } = open();
    await session.join(where, guest, true);
    await assert.rejects(session.join(where, guest, true), { code: 'already-in' });
    await session.leave();
    await settle();
    assert.equal(remembered.last, undefined);
    assert.equal(text(), 'Tutorial');
    assert.equal(room.members.length, 1);
    await assert.rejects(session.content(), { code: 'not-in' });
    await session.join(where, guest, true);
    assert.equal(session.view.status, 'in');
});

test('leaving while joining gives up', async () => {
    const { open, room } = world();
    const { session } = open();
    room.join = () => new Promise(() => {});
    const slow = new Session((_, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))), async () => {});
    const joining = slow.join(where, guest, true);
    const asked = slow.content();
    await slow.leave();
    await assert.rejects(joining, { code: 'left' });
    await assert.rejects(asked, { code: 'not-in' });
    assert.equal(session.view.status, 'out');
});

test('the end of the room is told, with why', async () => {
    const { open, room } = world();
    const { session, notices, remembered } = open();
    await session.join(where, guest, true);
    room.members.find((member) => member.me === session.view.me)!.end('closed', 'the room was closed by its host');
    await settle();
    assert.deepEqual(notices, [{ type: 'ended', reason: 'the room was closed by its host', room: where }]);
    assert.equal(session.view.status, 'out');
    assert.equal(remembered.last, undefined);
});

test('a room without content can be followed, and not moved', async () => {
    const { open, room, ada, show } = world();
    await ada.lead();
    await show(1);
    room.content.outline = () => Promise.reject(new Refusal('unavailable'));
    const { session, text } = open();
    await session.join(where, guest, true);
    await settle();
    assert.equal(text(), 'Following Ada · 2/8');
    room.give(session.view.me!);
    await settle();
    assert.throws(() => session.move(1), { code: 'no-steps' });
});
