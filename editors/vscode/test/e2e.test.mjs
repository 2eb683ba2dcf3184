// The extension in a real VS Code: a website leads and the editor follows, control is handed over, the network is cut, the
// editor is reloaded. What is asserted is what people see.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { world } from './world.mjs';

// The sample: 1 readme… is no step; then section, action, template, solution, template, solution, section.
const SETUP = 2, HELLO = 3, NAME = 5, STEPS = 7;

let all, site, editor;
let failed = false;

before(async () => {
    all = await world();
    [site, editor] = await Promise.all([all.website(), all.editor()]);
});

after(async () => {
    if (failed) console.log(`messages: ${await editor.messages().catch(() => '?')}\nhost: ${all.host.lines.slice(-5).join('\n')}`);
    await all?.end();
});

/** One after another: each begins where the one before ended. */
function step(name, run) {
    test(name, async (t) => {
        if (failed) return t.skip('what came before failed');
        try {
            await run();
        } catch (error) {
            failed = true;
            await editor.shot(`failed-${name.replace(/\W+/g, '-').slice(0, 40)}`).catch(() => {});
            throw error;
        }
    });
}

step('the editor is told of a link that is none, and joins by one that is', async () => {
    await editor.ready();
    await editor.says('Tutorial');
    await editor.page.locator('.activitybar .action-label[aria-label*="Tutorial"]').first().click();
    await editor.page.getByRole('button', { name: 'Join a Tutorial' }).click();
    await editor.page.locator('.quick-input-widget input[type="text"]').fill('everlink://nonsense');
    await editor.page.getByText('This is no link to a tutorial').first().waitFor();
    await editor.shot('no-link');
    await editor.type(all.link);
    await editor.page.locator('.monaco-list-row', { hasText: 'Ask for a name' }).first().waitFor();
});

step('the website leads, and the editor follows', async () => {
    all.host.say('release');
    await site.join();
    await site.key('lead').click();
    await site.says('You lead');
    await editor.says(`Following Ada · 1/${STEPS}`);
    for (const number of [SETUP, HELLO]) {
        await site.key('next').click();
        await editor.says(`Following Ada · ${number}/${STEPS}`);
    }
    await editor.tab('main.rs').waitFor();
    await editor.locked.first().waitFor();
    await editor.shows('// TODO: greet');
    await editor.lesson.getByRole('heading', { name: 'Say hello' }).waitFor();
    await editor.lesson.getByText('Ada leads, you follow').waitFor();
    assert.match(await editor.tree('Say hello').innerText(), /shown now/);
    await editor.shot('following');

    await site.key('solution').click();
    await editor.says(`Following Ada · ${HELLO}/${STEPS} solution`);
    await editor.shows('println!("Hello!");');
    await site.key('solution').click();
    await editor.says(`Following Ada · ${HELLO}/${STEPS}`);
    await editor.shows('// TODO: greet');
});

step('what the leader drives is locked', async () => {
    await editor.page.locator('.monaco-editor .view-lines', { hasText: 'TODO' }).first().click();
    await editor.page.keyboard.type('mine');
    await editor.page.getByText('This is the tutorial’s version of the file').first().waitFor();
    await editor.shot('read-only');
    assert.equal(await editor.page.locator('.monaco-editor .view-lines', { hasText: 'mine' }).count(), 0);

    assert.equal(await editor.offers('Tutorial: Next Step'), false);
    await editor.page.keyboard.press('Control+Alt+PageDown');
    await editor.notification('Ada leads and chooses the step').waitFor();
    await editor.clear();
    await editor.tree('Ask for a name').click();
    await editor.notification('Ada leads and chooses the step').waitFor();
    await editor.shot('locked');
    await editor.clear();
    await editor.says(`Following Ada · ${HELLO}/${STEPS}`);
});

step('the step’s changes are shown in the diff editor', async () => {
    await editor.command('Tutorial: Show What the Step Changes');
    await editor.tab(`Step ${HELLO}`).waitFor();
    await editor.shows('fn main() {}');
    await editor.shot('diff');
});

step('control is handed over: the website offers, the editor accepts', async () => {
    await site.key('hand').click();
    // With several there, the page asks to whom.
    const successor = site.page.locator('#successor[open]').getByText('Editor');
    await successor.click({ timeout: 3000 }).catch(() => {});
    await editor.notification('Ada offers you control').getByRole('button', { name: 'Accept' }).click();
    await editor.says(`You lead · ${HELLO}/${STEPS}`);
    await site.says('Editor leads');
    await editor.shot('leading');

    await editor.page.keyboard.press('Control+Alt+PageDown');
    await editor.says(`You lead · ${NAME}/${STEPS}`);
    await site.page.locator('#article').getByText('Ask for a name').first().waitFor();
    await editor.command('Tutorial: Show Solution');
    await editor.says(`You lead · ${NAME}/${STEPS} solution`);
    await editor.command('Tutorial: Hide Solution');
    await editor.says(`You lead · ${NAME}/${STEPS}`);
    await editor.tree('Say hello').click();
    await editor.says(`You lead · ${HELLO}/${STEPS}`);
});

step('files are checked out, and changes of one’s own are kept', async () => {
    const file = (name) => join(all.places.work, name);
    await editor.command('Tutorial: Check the Step');
    await editor.notification(`Step ${HELLO} is checked out`).waitFor();
    assert.equal(readFileSync(file('src/main.rs'), 'utf8'), 'fn main() {\n    // TODO: greet\n}\n');
    assert.equal(existsSync(file('run.sh')), true);
    await editor.clear();

    // Whoever leads works on the own files.
    await editor.page.locator('.monaco-editor .view-lines', { hasText: 'TODO' }).first().click();
    await editor.page.keyboard.press('Control+End');
    await editor.page.keyboard.type('// my own line');
    await editor.page.keyboard.press('Control+s');
    await waitFor(() => readFileSync(file('src/main.rs'), 'utf8').includes('// my own line'));
    await editor.shot('own-file');

    writeFileSync(file('notes.txt'), 'mine');
    await editor.command('Tutorial: Show Solution');
    await editor.says(`You lead · ${HELLO}/${STEPS} solution`);
    await editor.command('Tutorial: Check the Step');
    const dialog = editor.page.locator('.monaco-dialog-box');
    await dialog.getByText('A file has changes of your own').waitFor();
    await editor.shot('changes');
    await dialog.getByRole('button', { name: 'Keep Mine' }).click();
    await editor.notification('your changes kept in src/main.rs').waitFor();
    assert.match(readFileSync(file('src/main.rs'), 'utf8'), /TODO[^]*my own line/);
    assert.equal(readFileSync(file('notes.txt'), 'utf8'), 'mine');
    await editor.clear();

    await editor.command('Tutorial: Check the Step');
    await dialog.getByRole('button', { name: /Replace/ }).click();
    await waitFor(() => readFileSync(file('src/main.rs'), 'utf8') === 'fn main() {\n    println!("Hello!");\n}\n');
    await editor.clear();
});

step('the network is cut: the role is kept, and the newest state arrives', async () => {
    all.cut();
    await editor.command('Tutorial: Hide Solution');
    await editor.says(`Reconnecting, still leading · ${HELLO}/${STEPS}`);
    await editor.shot('cut');
    await editor.command('Tutorial: Next Step');
    await editor.says(`Reconnecting, still leading · ${NAME}/${STEPS}`);
    await site.says(/the lead is kept/);
    all.heal();
    await editor.says(`You lead · ${NAME}/${STEPS}`, 40_000);
    await site.page.locator('#article').getByText('Ask for a name').first().waitFor();
    await site.says('Editor leads');
});

step('the editor is reloaded: it leads on', async () => {
    await editor.page.reload();
    await editor.ready();
    await editor.says(`You lead · ${NAME}/${STEPS}`, 60_000);
    await editor.lesson.getByRole('heading', { name: 'Ask for a name' }).waitFor();
    await editor.shows('todo!()');
    await editor.shot('reloaded');
    assert.equal(await editor.page.getByText('could not be opened').count(), 0);
    await editor.command('Tutorial: Previous Step');
    await editor.says(`You lead · ${HELLO}/${STEPS}`);
    await site.page.locator('#article').getByText('Say hello').first().waitFor();
    await site.says('Editor leads');
});

step('control goes back, by a request, and a follower who reloads follows', async () => {
    await site.key('lead').click();
    await editor.notification('Ada asks you for control').getByRole('button', { name: 'Hand Over' }).click();
    await editor.says(`Following Ada · ${HELLO}/${STEPS}`);
    await site.says('You lead');
    await editor.page.reload();
    await editor.ready();
    await editor.says(`Following Ada · ${HELLO}/${STEPS}`, 60_000);
    await site.key('next').click();
    await editor.says(`Following Ada · ${NAME}/${STEPS}`);
    await editor.shows('todo!()');
});

step('leaving closes what was of the tutorial, and a reload stays out', async () => {
    await editor.command('Tutorial: Leave');
    await editor.says('Tutorial');
    await editor.locked.first().waitFor({ state: 'detached' });
    await editor.page.reload();
    await editor.ready();
    await editor.page.waitForTimeout(2000);
    await editor.says('Tutorial');
});

step('a tutorial that is over is told', async () => {
    await editor.command('Tutorial: Join');
    await editor.type(all.link);
    await editor.says(`Following Ada · ${NAME}/${STEPS}`);
    await editor.shows('todo!()');
    all.host.say('quit');
    await editor.notification('You are no longer in the tutorial').waitFor();
    await editor.says('Tutorial');
    await editor.tab('name.rs').waitFor({ state: 'detached' });
    await editor.shot('over');
});

async function waitFor(holds) {
    const late = Date.now() + 15_000;
    while (!holds()) {
        assert.ok(Date.now() < late, `did not come about: ${holds}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

