// Follows a tutorial in Node, and leads it when it is offered the lead.
//
//   node tutorial.mjs http://127.0.0.1:3000 LINK
import { Client, TutorialSync } from 'everlink/tutorial';
import { RTCPeerConnection } from 'node-datachannel/polyfill';

globalThis.RTCPeerConnection = RTCPeerConnection;

const [signaling, link] = process.argv.slice(2);
if (!link) {
    console.error('usage: node tutorial.mjs SERVER LINK');
    process.exit(2);
}
const client = await Client.create({ signaling });
const sync = await TutorialSync.connect(client, link, { name: 'Node' });
const events = sync.events();
const { title, steps } = await sync.content.outline();
console.log(`${title}: ${steps.length} steps, ${sync.members.length} here`);
if (sync.state) show(sync.state);
for await (const event of events) {
    if (event.type === 'state_updated') show(event.state);
    if (event.type === 'healing') console.log('connection lost; the place is kept');
    if (event.type === 'control_offered') {
        await sync.acceptControl(event.offer);
        const { id, title, commitHash, type, index } = steps[steps.length - 1];
        sync.sendState({ ...sync.state, isShowingSolution: false, stepContent: { id, title, commitHash, type, index } });
        await sync.returnControl();
    }
    if (event.type === 'left') console.log(event.reason.message);
}
await client.shutdown();
// The polyfill has threads of its own, which would keep the process.
process.exit();

function show({ stepContent: { index, title }, totalSteps, isShowingSolution }) {
    console.log(`step ${index + 1}/${totalSteps} ${title}${isShowingSolution ? ' (solution)' : ''}`);
}
