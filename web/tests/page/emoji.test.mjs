/** What the page opens with: the emoji, made, played with, guided by their classifier and enlarged; on one page, in Chromium. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { violations } from './axe.mjs';
import { fill, generate, pixels, slide, start, status } from './harness.mjs';

const edge = (page) => page.textContent('#current .edge');
const values = (page, ...ids) => page.evaluate((all) => all.map((id) => document.getElementById(id).value), ids);
/** Sets the fields for one image, in few steps: a software driver is slow. */
async function one(page, { steps = 2 } = {}) {
  await fill(page, { count: 1, steps, guidance: 1, seed: 7 });
  await page.press('#seed', 'Tab');
}

describe('the page as it opens', () => {
  let [site, page, messages, opened] = [];
  before(async () => {
    site = await start();
    ({ page, messages } = await site.open({ hash: '' }));
    opened = await values(page, 'count', 'sampler', 'steps', 'guidance');
    await status(page, 'Ready');
  });
  after(() => site?.close());

  test('it opens with emoji, one of each class, in the eight evaluations that suit them', async () => {
    assert.deepEqual(await values(page, 'count', 'sampler', 'steps', 'guidance'), ['12', 'dpm++2m', '8', '1']);
    assert.deepEqual(opened, ['12', 'dpm++2m', '8', '1'], 'they are there before the model');
    // Its examples are read meanwhile.
    await page.waitForFunction(() => /^Examples .* Recorded: twelve classes/.test(document.querySelector('#current .examples .edge')?.textContent));
    assert.equal(await page.locator('#current canvas').count(), 12);
    const shifts = await page.evaluate(() => window.shifts);
    assert.ok(shifts.reduce((sum, { value }) => sum + value, 0) < 0.01, JSON.stringify(shifts));
    const fetched = site.server.requests.filter(({ path }) => path.endsWith('.safetensors')).map(({ path }) => path.split('/').pop());
    assert.deepEqual([...new Set(fetched)], ['emoji32.safetensors'], 'no other model is loaded');
    await page.click('#class');
    const names = await page.locator('#class-list li').allTextContents();
    assert.deepEqual([names.length, names[1], names[12]], [13, 'face', 'sky & weather'], 'all, and twelve: the class for none is none to draw');
    await page.keyboard.press('Escape');
    assert.deepEqual(await violations(page), []);
  });

  test('makes an emoji, in colour on white', async () => {
    await one(page, { steps: 8 });
    await generate(page);
    assert.match(await edge(page), /^All classes, 8 dpm\+\+2m steps, guidance 1, seed 7$/);
    assert.equal(await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('model')), 'emoji');
    const levels = (await pixels(page)).split(',').map(Number);
    assert.equal(levels.length, 32 * 32 * 4);
    assert.ok(levels.slice(0, 3).every((level) => level > 240), `the corner is ${levels.slice(0, 3)}, not white`);
    const colours = levels.filter((_, at) => at % 4 === 0).filter((red, at) => Math.abs(red - levels[4 * at + 2]) > 60).length;
    assert.ok(colours > 100, `a face has more than ${colours} of 1024 pixels in colour`);
  });

  test('compares guidance, to which the class for none is enough', async () => {
    await one(page);
    await generate(page, '#compare-guidance');
    assert.deepEqual(await page.locator('#current .frame-name').allTextContents(), ['Guidance 0', 'Guidance 1', 'Guidance 2', 'Guidance 4', 'Guidance 8']);
    assert.equal(new Set([await pixels(page, 0), await pixels(page, 1), await pixels(page, 4)]).size, 3);
  });

  test('a drawing becomes an emoji', async () => {
    await one(page);
    await page.click('#draw-toggle');
    await page.focus('#board');
    await page.keyboard.press(' ');
    await generate(page, '#draw-make');
    assert.match(await edge(page), /drawn, strength 0.7/);
    await page.click('#draw-close');
  });

  test('follows the settings live in two evaluations, and keeps none of that', async () => {
    await one(page);
    const sheets = () => page.locator('#sheets article').count();
    await page.click('#live-mode');
    await status(page, 'Live');
    assert.match(await page.textContent('#detail'), /^Made in .*a software driver always waits/);
    assert.deepEqual(await violations(page), []);
    const before = [await sheets(), await pixels(page)];
    await slide(page, 'guidance', 2, 2.5, 3);
    await page.waitForFunction(() => document.querySelector('#current .edge').textContent.includes('guidance 3'));
    await status(page, 'Live');
    assert.equal(await sheets(), before[0]);
    assert.notEqual(await pixels(page), before[1]);
    await page.click('#live-mode');
    await status(page, 'Ready');
  });

  test('walks from emoji to emoji', async () => {
    await one(page);
    await page.click('#morph');
    await page.waitForFunction(() => Number(/^(\d+) images so far/.exec(document.querySelector('#detail').textContent)?.[1]) >= 2);
    await page.click('#cancel');
    await status(page, 'The walk has ended');
  });

  test('is guided by the classifier where that is asked for, at a scale of its own', async () => {
    await one(page);
    await page.check('#guided');
    await status(page, 'Ready');
    assert.deepEqual(await values(page, 'sampler', 'steps', 'guidance'), ['dpm++2m', '2', '2'], 'the steps stay');
    await generate(page);
    assert.match(await edge(page), /2 dpm\+\+2m steps, guidance 2, seed 7/);
    assert.equal(await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('model')), 'emoji-guided');
    const guided = await pixels(page);
    await fill(page, { guidance: 0 });
    await generate(page);
    assert.notEqual(await pixels(page), guided);
    await page.check('[value=fashion]');
    await page.evaluate(() => (location.hash = '#model=emoji-guided&count=1&steps=2&seed=7'));
    await status(page, 'Ready');
    assert.deepEqual([await page.isChecked('[value=emoji]'), await page.isChecked('#guided')], [true, true], 'a link brings both');
  });

  test('two stages make 64x64 pixels, each in steps of its own, of noise or of a drawing', async () => {
    await page.check('[value=stack]');
    await status(page, 'Ready');
    assert.match(await page.textContent('#model-state'), /^64 × 64 pixels, colour/);
    await one(page, { steps: 8 });
    await generate(page);
    assert.equal(await page.evaluate(() => document.querySelector('#current canvas').width), 64);
    const totals = () => page.evaluate(() => [...new Set(window.titles.flatMap((title) => /^Step \d+ of (\d+)$/.exec(title)?.[1] ?? []))]);
    assert.deepEqual(await totals(), ['8', '5']);
    await page.evaluate(() => (document.querySelector('#more').open = true));
    await fill(page, { steps: 2, enlarge: 3 });
    const plain = await pixels(page);
    await page.click('#draw-toggle');
    await page.focus('#board');
    await page.keyboard.press(' ');
    await generate(page, '#draw-make');
    assert.equal((await totals()).at(-1), '3');
    assert.match(await edge(page), /2 dpm\+\+2m steps, enlarged in 3, .*drawn, strength 0.7$/);
    assert.notEqual(await pixels(page), plain);
    assert.match(await page.evaluate(() => location.hash), /enlarge=3/);
    await page.click('#draw-close');
    assert.ok(await page.isDisabled('#morph'));
    assert.deepEqual(messages, []);
  });
});
