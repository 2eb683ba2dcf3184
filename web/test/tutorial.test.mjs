// The page /tutorial over rooms that are not there: what it shows, what it does when asked, and that it runs nothing of a stranger's.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Scope, browser, directory, scoped } from './harness.mjs';
import { stage } from './tutorial/stage.mjs';

const settings = { timeout: 60_000 };
const all = new Scope();
let url;
let chrome;
before(async () => {
    const at = await stage(directory(all));
    all.add(at.end);
    url = at.url;
    chrome = await browser(all);
});
after(() => all.end());

async function open(scope, scene, { width = 1280, height = 800, ...more } = {}) {
    const context = await chrome.newContext({ viewport: { width, height }, reducedMotion: 'reduce', ...more });
    scope.add(() => context.close());
    const page = await context.newPage();
    page.wrong = [];
    page.on('pageerror', (error) => page.wrong.push(error.message));
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && page.wrong.push(message.text()));
    page.on('request', (request) => {
        if (!['blob:', 'data:'].includes(new URL(request.url()).protocol) && new URL(request.url()).origin !== new URL(url).origin) page.wrong.push(`asked ${request.url()}`);
    });
    await page.goto(`${url}?scene=${scene}`);
    await page.waitForSelector('#article h1');
    return page;
}

const place = (page, is) => page.waitForFunction((is) => document.querySelector('#article').dataset.place === is, is, { timeout: 5000 });
const asked = (page) => page.evaluate(() => globalThis.fake.asked);
const button = (page, name) => page.getByRole('button', { name, exact: true });

test('a follower is where the leader is, looks around alone, and comes back', settings, scoped(async (scope) => {
    const page = await open(scope, 'following');
    await place(page, '1');
    await page.evaluate(() => globalThis.fake.at(3));
    await place(page, '3');
    await page.waitForFunction(() => document.querySelector('#news').textContent.includes('Ada Lovelace: step 4 of 12, Read a command'));
    await page.keyboard.press('j');
    await place(page, '4');
    await page.evaluate(() => globalThis.fake.at(9));
    // The leader's step leaves a reader alone, and says where everybody is.
    await page.waitForFunction(() => document.querySelector('#dock').textContent.includes('At step 10'));
    await place(page, '4');
    await button(page, 'Back to Ada').click();
    await place(page, '9');
    assert.deepEqual(await asked(page), [], 'looking around moved somebody');
    assert.deepEqual(page.wrong, []);
}));

test('who leads moves everybody: by button, key, list; past solutions unless they are wanted', settings, scoped(async (scope) => {
    const page = await open(scope, 'leading');
    await button(page, 'Next').click();
    await place(page, '3');
    await page.keyboard.press('ArrowLeft');
    await place(page, '1');
    await page.keyboard.press('s');
    await place(page, '1s');
    assert.equal(await button(page, 'Solution').getAttribute('aria-pressed'), 'true');
    await page.keyboard.press('ArrowRight');
    await place(page, '3');
    await page.getByRole('navigation', { name: 'Steps' }).getByRole('button', { name: /Where to go/ }).click();
    await place(page, '11');
    assert.equal(await button(page, 'Next').isDisabled(), true);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'article');
    assert.deepEqual(await asked(page), ['send 3', 'send 1', 'send 1s', 'send 3', 'send 11']);
    assert.deepEqual(page.wrong, []);
}));

test('control: lead, ask, offer, accept, decline, grant, release, revoke', settings, scoped(async (scope) => {
    let page = await open(scope, 'idle');
    await page.keyboard.press('ArrowRight');
    await button(page, 'Lead from here').click();
    await page.waitForFunction(() => document.body.dataset.role === 'leading');
    // From here: the room is where its new leader was.
    assert.deepEqual(await asked(page), ['lead', 'send 3']);
    await button(page, 'Hand over').click();
    await page.getByRole('dialog', { name: 'Who shall lead?' }).getByRole('button', { name: 'Linus' }).click();
    await page.getByText('Offered to Linus…').waitFor();
    await button(page, 'Cancel').click();
    assert.deepEqual((await asked(page)).slice(2), ['offer kLinus3', 'withdraw']);

    page = await open(scope, 'leading');
    await page.evaluate(() => (globalThis.fake.answer = { outcome: 'declined', by: 'kLinus3', reason: 'busy' }));
    await button(page, 'Hand over to Linus').click();
    await page.getByText('Linus declined: busy').first().waitFor();
    await button(page, 'Stop').click();
    await page.getByText('Nobody leads', { exact: true }).waitFor();
    assert.deepEqual(await asked(page), ['offer kLinus3', 'release']);

    page = await open(scope, 'offered');
    await page.getByRole('alert').getByRole('button', { name: 'Take the lead' }).click();
    await page.waitForFunction(() => document.body.dataset.role === 'leading');
    assert.deepEqual(await asked(page), ['accept 7']);

    page = await open(scope, 'offered');
    await page.getByRole('alert').getByRole('button', { name: 'Not now' }).click();
    await page.getByRole('alert').waitFor({ state: 'detached' });
    assert.deepEqual(await asked(page), ['decline 7']);

    page = await open(scope, 'asked');
    await page.getByText('“I have a question about step 4”').waitFor();
    await button(page, 'Hand it over').click();
    await page.getByText('Linus leads', { exact: true }).waitFor();
    await button(page, 'Ask to lead').click();
    await page.getByText('Asked Linus…').waitFor();
    await button(page, 'Cancel').click();
    await button(page, 'Ask to lead').waitFor();
    assert.deepEqual(await asked(page), ['grant 3', 'request']);

    page = await open(scope, 'moderator');
    await button(page, 'Take the lead').click();
    assert.deepEqual(await asked(page), ['revoke']);

    page = await open(scope, 'observer');
    assert.equal(await button(page, 'Ask to lead').count(), 0);
    await page.keyboard.press('l');
    assert.deepEqual(await asked(page), []);
    assert.deepEqual(page.wrong, []);
}));

test('a lost connection is shown, with the place kept, and so is its end', settings, scoped(async (scope) => {
    const page = await open(scope, 'leading');
    await page.evaluate(() => {
        globalThis.fake.healing = true;
        globalThis.fake.tell({ type: 'healing' });
    });
    await page.getByText('Connection lost.').waitFor();
    await page.getByText('You lead', { exact: true }).waitFor();
    await page.waitForFunction(() => document.querySelector('#news').textContent.includes('Your place is kept'));
    await page.evaluate(() => {
        globalThis.fake.healing = false;
        globalThis.fake.tell({ type: 'healed' });
    });
    await page.getByText('Connection lost.').waitFor({ state: 'hidden' });
    await page.getByText('Connected', { exact: true }).waitFor();
}));

test('by the keyboard alone: focus stays, help opens, letters can be switched off, code scrolls by itself', settings, scoped(async (scope) => {
    const page = await open(scope, 'leading', { width: 700 });
    await button(page, 'Next').focus();
    await page.keyboard.press('Enter');
    await place(page, '3');
    assert.equal(await page.evaluate(() => document.activeElement.dataset.key), 'next');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    await page.keyboard.press('j');
    await page.getByLabel('Use the letters').uncheck();
    await page.keyboard.press('Escape');
    await page.keyboard.press('j');
    await page.keyboard.press('ArrowLeft');
    await place(page, '1');
    assert.deepEqual(await asked(page), ['send 3', 'send 1']);
    // What is wider than the page is scrolled by the keys that turn pages elsewhere.
    await page.setViewportSize({ width: 340, height: 700 });
    await page.locator('.prose pre').first().focus();
    await page.keyboard.press('ArrowRight');
    assert.deepEqual(await asked(page), ['send 3', 'send 1']);
    await page.keyboard.press('Tab');
    assert.deepEqual(page.wrong, []);
}));

test('from 320 to 1600 pixels nothing is wider than the window, and everything has a name', settings, scoped(async (scope) => {
    const page = await open(scope, 'leading', { width: 320, height: 640 });
    for (const width of [320, 390, 480, 719, 720, 900, 1079, 1080, 1280, 1600]) {
        await page.setViewportSize({ width, height: 800 });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${over} px too wide at ${width}`);
        const cut = await page.evaluate(() => [...document.querySelectorAll('#dock button, .top button')].filter((button) => button.offsetParent && (button.getBoundingClientRect().right > innerWidth + 1 || button.scrollWidth > button.clientWidth + 1)).map((button) => button.textContent));
        assert.deepEqual(cut, [], `at ${width}`);
    }
    await page.setViewportSize({ width: 390, height: 800 });
    await button(page, 'Steps').click();
    await page.getByRole('dialog', { name: 'Steps' }).getByRole('button', { name: /Exit codes/ }).click();
    await place(page, '9');
    await button(page, 'People').click();
    await page.getByRole('dialog', { name: 'People' }).getByText('Edsger W. Dijkstra').waitFor();
    await page.keyboard.press('Escape');
    const unnamed = await page.evaluate(() => [...document.querySelectorAll('button, input, a, [role="region"]')].filter((element) => !(element.textContent.trim() || element.ariaLabel || element.title || element.labels?.length)).map((element) => element.outerHTML));
    assert.deepEqual(unnamed, []);
    const marks = await page.evaluate(() => ['header', 'main', 'nav', 'aside', '[role="status"]'].filter((name) => !document.querySelector(name)));
    assert.deepEqual(marks, []);
    assert.deepEqual(page.wrong, []);
}));

test('a hostile tutorial shows, and runs nothing, loads nothing, leads nowhere unseen', settings, scoped(async (scope) => {
    const page = await open(scope, 'hostile');
    for (const details of await page.locator('details.file:not([open]) summary').all()) await details.click();
    await page.waitForTimeout(300);
    const found = await page.evaluate(() => {
        const article = document.querySelector('#article');
        const bad = 'script,iframe,object,embed,style,link,base,meta,form,svg:not(.icon),math,video,template,dialog,portal,input,[style],[id]:not(#changes),[name],[srcset]';
        return {
            hacked: globalThis.hacked,
            bad: [...article.querySelectorAll(bad)].map((element) => element.outerHTML.slice(0, 120)),
            listeners: [...document.querySelectorAll('*')].flatMap((element) => element.getAttributeNames().filter((name) => name.startsWith('on'))),
            links: [...article.querySelectorAll('[href]')].map((link) => [link.getAttribute('href'), link.rel, link.target]),
            images: [...document.querySelectorAll('img')].map((image) => image.src),
            classes: [...article.querySelectorAll('.prose .dock, .prose .card')].length,
            dock: document.querySelectorAll('#dock').length,
            names: [...document.querySelectorAll('.file .path')].map((path) => path.textContent.slice(0, 40)),
            visible: getComputedStyle(document.body).display,
        };
    });
    assert.equal(found.hacked, undefined);
    assert.deepEqual(found.bad, []);
    assert.deepEqual(found.listeners, []);
    assert.deepEqual([found.dock, found.classes, found.visible], [1, 0, 'block']);
    for (const [href, rel, target] of found.links) {
        assert.match(href, /^https:\/\/(good|elsewhere)\.example\//);
        assert.match(rel, /noopener noreferrer/);
        assert.equal(target, '_blank');
    }
    for (const source of found.images) assert.match(source, /^blob:/);
    // What was meant as markup is there to be read.
    assert.match(found.names[0], /<img src=x/);
    assert.match(await page.title(), /<img src=x/);
    for (const link of await page.locator('#article a').all()) assert.doesNotMatch((await link.getAttribute('href')).toLowerCase(), /script:/);
    // The policy reports what the sanitiser was about to take out; everything else would be news.
    assert.deepEqual(page.wrong.filter((line) => !/Content Security Policy.*The action has been blocked/s.test(line)), []);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, 'it widened the page');
}));
