// Takes pictures of the page over rooms that are not there: `node tutorial/look.mjs OUT [NAME…]`.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { stage } from './stage.mjs';

const [out, ...only] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
const { url, end } = await stage(join(out, 'page'));
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
const shots = [
    ['wide-following', 'following', 1440, 900, 'light'], ['wide-leading', 'leading', 1440, 900, 'dark'], ['wide-dark', 'following', 1600, 1000, 'dark'],
    ['mid-leading', 'leading', 900, 900, 'light'], ['phone-following', 'following', 390, 844, 'light'], ['phone-leading', 'leading', 390, 844, 'dark'],
    ['phone-healing', 'healing', 390, 844, 'light'], ['healing', 'healing', 1280, 800, 'light'], ['offered', 'offered', 1280, 800, 'light'], ['asked', 'asked', 1280, 800, 'dark'],
    ['narrow', 'following', 320, 640, 'light'], ['idle', 'idle', 1280, 800, 'light'], ['offering', 'offering', 390, 844, 'light'], ['solution', 'solution', 1280, 800, 'light'],
    ['leader-healing', 'leader-healing', 390, 844, 'light'], ['away', 'following', 390, 844, 'dark', 'away'], ['away-wide', 'following', 1280, 800, 'light', 'away'],
    ['sheet', 'leading', 390, 844, 'light', 'sheet'], ['people', 'leading', 390, 844, 'light', 'people'], ['help', 'following', 1280, 800, 'light', 'help'], ['hand', 'leading', 1280, 800, 'light', 'hand'],
    ['full', 'following', 1280, 800, 'light', 'full'], ['full-dark', 'following', 1280, 800, 'dark', 'full'], ['full-phone', 'following', 390, 844, 'light', 'full'], ['empty', 'empty', 1280, 800, 'light'],
];
for (const [name, scene, width, height, colorScheme, more] of shots) {
    if (only.length > 0 && !only.includes(name)) continue;
    const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
    const page = await context.newPage();
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && console.error(name, message.text()));
    page.on('pageerror', (error) => console.error(name, error.message));
    await page.goto(`${url}?scene=${scene}`);
    await page.waitForSelector('#article h1');
    await page.evaluate(() => document.fonts.ready);
    if (more === 'away') await page.keyboard.press('ArrowRight');
    if (more === 'sheet') await page.click('#steps-open');
    if (more === 'people') await page.click('#people-open');
    if (more === 'help') await page.keyboard.press('?');
    if (more === 'hand') await page.keyboard.press('h');
    await page.waitForTimeout(150);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) console.error(`${name}: ${wide} px wider than the window`);
    await page.screenshot({ path: join(out, `${name}.png`), fullPage: more === 'full' });
    await context.close();
}
await browser.close();
await end();
