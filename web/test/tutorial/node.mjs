// The API of everlink/tutorial in Node, where run.sh puts this beside the unpacked package: `node tutorial.mjs SERVER`.
import assert from 'node:assert/strict';

import { ArgumentError, Client, ContentError, ControlError, EverlinkError, JoinError, StateError, TutorialRoom, TutorialSync, parseLink } from 'everlink/tutorial';
import { RTCPeerConnection } from 'node-datachannel/polyfill';

globalThis.RTCPeerConnection = RTCPeerConnection;

const [signaling] = process.argv.slice(2);
const code = (promise) => promise.then(() => 'nothing', (error) => {
    assert.ok(error instanceof EverlinkError, String(error));
    return `${error.name} ${error.code}`;
});
const state = (index) => ({ tutorialId: 't', tutorialTitle: 'T', totalSteps: 9, isShowingSolution: false, stepContent: { id: `s${index}`, title: 'S', commitHash: 'c', type: 'action', index }, repoUrl: '' });
const until = async (events, type) => {
    // Not by a loop that is left: leaving it ends the events.
    for (let next; !(next = await events.next()).done; ) if (next.value.type === type) return next.value;
    throw new Error(`no ${type}`);
};

const host = await Client.create({ signaling });
const guest = await Client.create({ signaling });
const room = await TutorialRoom.open(host, { user: `node${process.pid}`, maxMembers: 2, conflicts: 'user_choice', metadata: { topic: 'tests' } });
const link = room.link(signaling);
assert.deepEqual(parseLink(link), { room: room.id, server: signaling });
assert.deepEqual(parseLink(`https://signal.example.org/at/tutorial#${room.id}`), { room: room.id, server: 'https://signal.example.org/at' });
assert.throws(() => parseLink('everlink://nowhere'), ArgumentError);
assert.deepEqual([room.info.id, room.info.members, room.info.metadata], [room.id, 0, { topic: 'tests' }]);

const ada = await room.sync({ name: 'Ada' });
assert.equal(ada.phase, 'connected_idle');
assert.equal(await code(room.sync()), 'RoomError already-joined');
await ada.lead();
ada.sendState(state(1));

const grace = await TutorialSync.connect(guest, link, { name: 'Grace', everyStep: true });
assert.deepEqual([grace.phase, grace.holder, grace.healing], ['passive', ada.me, false]);
assert.deepEqual(grace.state, state(1));
assert.equal(grace.state, grace.state, 'a state is the same object until it changes');
assert.deepEqual(grace.members.map(({ name, role }) => `${name} ${role}`).sort(), ['Ada leader', 'Grace follower']);
assert.throws(() => grace.sendState(state(2)), (error) => error instanceof StateError && error.code === 'not-active');
assert.equal(await code(grace.offerControl()), 'ControlError wrong-phase');
assert.equal(await code(grace.content.outline()), 'ContentError unavailable');
assert.ok(ContentError && ControlError && JoinError);
const third = await Client.create({ signaling });
assert.equal(await code(TutorialSync.connect(third, room.id)), 'JoinError full');
const nowhere = room.id.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
assert.equal(await code(TutorialSync.connect(third, nowhere)), 'ConnectError service-not-found');
assert.equal(await code(TutorialSync.connect(third, 'nothing')), 'ArgumentError bad-link');
await assert.rejects(TutorialSync.connect(third, room.id, { signal: AbortSignal.abort(new Error('enough')) }), /enough/);

const steps = grace.steps();
const [first, second] = [steps.next(), steps.next()];
const events = grace.events();
ada.sendState(state(2));
ada.sendState(state(3));
assert.deepEqual([(await first).value, (await second).value], [state(2), state(3)]);
await until(events, 'state_updated');

// An offer, declined and accepted; a request, granted; control given back.
for (const answer of ['declined', 'accepted']) {
    const outcome = ada.offerControl(grace.me);
    const { offer, from } = await until(events, 'control_offered');
    assert.equal(from, ada.me);
    assert.equal(grace.control.offer.offer, offer);
    await (answer === 'accepted' ? grace.acceptControl(offer) : grace.declineControl(offer, 'busy'));
    const { by, reason } = await outcome;
    assert.deepEqual([(await outcome).outcome, by, reason], [answer, grace.me, answer === 'declined' ? 'busy' : undefined]);
}
assert.deepEqual([grace.phase, ada.phase, grace.control.cause], ['active', 'passive', 'offered']);
grace.sendState(state(4));
const asked = ada.requestControl('me again');
const { request, reason } = await until(events, 'control_requested');
assert.equal(reason, 'me again');
await grace.grantRequest(request);
await asked;
assert.deepEqual([ada.phase, ada.state], ['active', state(4)]);
// An aborted question is not one any more.
const stop = new AbortController();
const waits = grace.requestControl(undefined, { signal: stop.signal });
stop.abort(new Error('never mind'));
await assert.rejects(waits, /never mind/);
await ada.releaseControl();
assert.equal(ada.holder, null);

const left = grace.left();
await grace[Symbol.asyncDispose]();
assert.equal((await left).code, 'by_itself');
await room.close();
assert.equal((await ada.left()).code, 'by_host');
await Promise.all([host.shutdown(), guest.shutdown(), third.shutdown()]);
console.log('fine');
process.exit();
