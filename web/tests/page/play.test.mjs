/** What a visitor plays with, and that nothing of it is lost: on one page, in Chromium. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { folder } from '../lib/folder.mjs';
import { violations } from './axe.mjs';
import { TINY, dropWhite, fill, generate, pixels, slide, start, status } from './harness.mjs';

const BASE = folder('target/tiny-models/base.safetensors');

const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.tagName);
const edge = (page) => page.textContent('#current .edge');
const enabled = (page, place = '#current') => page.locator(`${place} button.frame:enabled`).count();

describe('the page to play with', () => {
  let [site, page, messages] = [];
  before(async () => {
    site = await start();
    ({ page, messages } = await site.open({ hash: '#model=fashion&label=9&count=1&steps=4&guidance=2&seed=5' }));
  });
  after(() => site?.close());

  test('a load can be cancelled, and Generate loads again', async () => {
    await page.click('#cancel');
    await status(page, 'Cancelled');
    assert.ok(await page.isVisible('#generate'));
    await page.click('#generate');
    await status(page, 'Done');
  });

  test('the caption says how many steps there are, and the slider gives those that DDIM makes', async () => {
    await slide(page, 'steps', 60);
    assert.equal(await page.inputValue('#steps'), '59', 'a stride of 17 through 1000 timesteps gives 59');
    assert.match(await page.textContent('#steps-hint'), /give 59 steps, not 60/);
    await fill(page, { steps: 250 }); // so many that the run is still under way when it is looked at
    await page.click('#generate');
    await status(page, 'Step');
    assert.match(await edge(page), /^Ankle boot, 250 DDIM steps, guidance 2, seed/);
    assert.match(await page.textContent('#stage-title'), /of 250$/);
    await page.click('#cancel');
    await status(page, 'Cancelled');
  });

  test('compares guidance and steps of one seed', async () => {
    await fill(page, { steps: 4, seed: 5 });
    await page.press('#seed', 'Tab');
    await page.click('#compare-guidance');
    await status(page, 'Done');
    assert.equal(await enabled(page), 5);
    assert.deepEqual(await page.locator('#current .frame-name').allTextContents(), ['Guidance 0', 'Guidance 1', 'Guidance 2', 'Guidance 4', 'Guidance 8']);
    const third = await pixels(page, 2);
    assert.notEqual(await pixels(page, 0), third);
    await generate(page);
    assert.equal(await pixels(page), third, 'one of them is what Generate makes');
    await generate(page, '#compare-steps');
    assert.deepEqual(await page.locator('#current .frame-name').allTextContents(), ['4 steps', '8 steps', '16 steps', '25 steps']);
    assert.equal(await pixels(page), third);
  });

  test('shows how an image formed, and saves that', async () => {
    await page.locator('#current button.frame').nth(3).click();
    const shown = () => page.evaluate(() => document.querySelector('#viewer-canvas').toDataURL());
    const last = await shown();
    await page.click('#viewer-more summary');
    assert.equal(await page.textContent('#scrub-state'), 'The image');
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    assert.equal(await page.textContent('#scrub-state'), 'After step 1 of 25, noise level 99.8 %: the image as predicted there');
    // Its trail is read meanwhile.
    await page.waitForFunction((whole) => document.querySelector('#viewer-canvas').toDataURL() !== whole, last);
    for (const [button, name, check] of [
      ['#viewer-download', '-step-1', (file) => file.readUInt32BE(16) === 32],
      ['#viewer-large', '-large', (file) => file.readUInt32BE(16) === 512],
      ['#viewer-strip', 'steps', (file) => file.readUInt32BE(16) === 32 * 25],
      ['#viewer-animation', 'animated', (file) => file.includes('acTL') && file.toString('latin1').split('fcTL').length === 26],
    ]) {
      const [download] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
      assert.ok(download.suggestedFilename().endsWith(`${name}.png`), download.suggestedFilename());
      assert.ok(check(readFileSync(await download.path())), button);
    }
  });

  test('arrow keys go through the images, and stay alive at both ends', async () => {
    await page.focus('#viewer-next');
    await page.keyboard.press('Enter');
    assert.equal(await focused(page), 'viewer-next', 'at the end, the focus stays');
    for (const expected of ['16 steps', '8 steps', '4 steps', '4 steps']) {
      await page.keyboard.press('ArrowLeft');
      assert.equal(await page.textContent('#viewer-title'), expected);
    }
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.textContent('#viewer-title'), '8 steps');
  });

  test('shows what happens in a step, and follows the slider', async () => {
    await page.click('#how summary');
    await page.click('#how-show');
    await page.waitForFunction(() => document.querySelector('#how-said').textContent === 'Step 8 of 8');
    assert.equal(await page.locator('#how canvas:visible').count(), 5, 'x_t, the noise, the guess, the gradient, x_t-1');
    const drawn = (part) =>
      page.evaluate((id) => [...document.getElementById(id).getContext('2d').getImageData(0, 0, 32, 32).data], `how-${part}`);
    const [after, guess] = [await drawn('after'), await drawn('guess')];
    assert.ok(after.every((level, at) => Math.abs(level - guess[at]) <= 1), 'the last step ends at the guess, but for rounding');
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    assert.equal(await page.textContent('#how-said'), 'Step 1 of 8');
    const [before, next] = [await drawn('before'), await drawn('after')];
    await page.keyboard.press('ArrowRight');
    assert.deepEqual(await drawn('before'), next, 'where one step ends the next one begins');
    assert.notDeepEqual(before, next);
    await page.click('#how summary');
  });

  test('saves a clip where the browser records one', async () => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#viewer-clip')]);
    assert.ok(download.suggestedFilename().endsWith('.webm'));
    const file = readFileSync(await download.path());
    assert.equal(file.readUInt32BE(0), 0x1a45dfa3, 'a WebM file');
  });

  test('makes one of them again, by itself', async () => {
    const wanted = await pixels(page, 1);
    await generate(page, '#viewer-again');
    assert.equal(await page.locator('#current canvas').count(), 1);
    assert.equal(await pixels(page), wanted);
    assert.equal(await page.inputValue('#steps'), '8');
  });

  test('what a cancelled run has finished is kept', async () => {
    await page.evaluate(() => (document.querySelector('#model-more').open = document.querySelector('#more').open = true));
    await page.selectOption('#batch', '1');
    await status(page, 'Ready');
    await page.selectOption('#sampler', 'ancestral');
    await fill(page, { count: 3, steps: 43 });
    await page.press('#steps', 'Tab');
    await page.click('#generate');
    await page.waitForFunction(() => /Images 2 to 2/.test(document.querySelector('#detail').textContent));
    await page.click('#cancel');
    await status(page, 'Cancelled');
    assert.equal(await enabled(page), 1);
    assert.match(await edge(page), /Stopped: 1 of 3 finished/);
    const [seen, unfinished] = await Promise.all(['canvas:visible', '.unfinished'].map((one) => page.locator(`#current ${one}`).count()));
    assert.equal(seen, 1 + unfinished, 'what was not finished is marked, or leaves no noise');
    await page.selectOption('#sampler', 'ddim');
    await fill(page, { count: 1, steps: 4 });
    await page.press('#steps', 'Tab');
  });

  test('a drawing becomes a picture, a mark is mended while the rest stays, and the model that made it makes it again', async () => {
    await page.evaluate(() => (document.querySelector('#model-more').open = true));
    await page.selectOption('#batch', '0');
    await status(page, 'Ready');
    await page.click('#draw-toggle');
    await page.click('#draw-make');
    assert.match(await page.textContent('#draw-said'), /^Nothing is drawn yet/);
    await page.setInputFiles('#draw-file', { name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('text') });
    await page.waitForFunction(() => /cannot be read as a picture/.test(document.querySelector('#draw-said').textContent));
    await page.focus('#board');
    for (const key of [' ', 'Shift+ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowUp', 'Shift+ArrowUp', 'Shift+ArrowUp']) await page.keyboard.press(key);
    assert.equal(await page.textContent('#generate'), 'Make pictures of it');
    await generate(page);
    assert.match(await edge(page), /drawn, strength 0.7/);
    const [weak, board] = [await pixels(page), await page.evaluate(() => document.querySelector('#board').toDataURL())];
    await page.locator('#strength').fill('0.3');
    await generate(page, '#draw-make');
    assert.notEqual(await pixels(page), weak);
    // A corner is marked: everywhere else, the picture is the drawing.
    await page.locator('[name=brush][value=mask]').check({ force: true });
    const box = await page.locator('#board').boundingBox();
    await page.mouse.click(box.x + 20, box.y + 20);
    assert.notEqual(await page.evaluate(() => document.querySelector('#board').toDataURL()), board);
    await generate(page, '#draw-make');
    assert.match(await edge(page), /^Ankle boot, 25 DDNM steps.*mended/);
    assert.ok(await page.isDisabled('#strength'));
    const levels = (await pixels(page)).split(',').map(Number);
    assert.deepEqual(levels.slice(-4 * 32 * 4), Array.from({ length: 4 * 32 }, () => [0, 0, 0, 255]).flat(), 'black stays black');
    await page.click('#draw-close');
    assert.equal(await focused(page), 'draw-toggle');
    // With another model in use.
    const before = await pixels(page);
    await page.check('[value=file]');
    await page.setInputFiles('#model-file', BASE);
    await page.click('#load');
    await status(page, 'Ready');
    await page.click('#current button.frame');
    await page.click('#viewer-again');
    await status(page, 'Done');
    assert.match(await edge(page), /mended/);
    assert.equal(await pixels(page), before);
  });

  test('a picture that is dropped anywhere lies on the board, and becomes one of the class', async () => {
    await dropWhite(page);
    await page.waitForSelector('#board:visible');
    await page.locator('#strength').fill('0.45');
    await page.waitForSelector('#draw-make:enabled');
    await generate(page, '#draw-make');
    assert.match(await edge(page), /drawn, strength 0.45$/);
    await page.click('#draw-close');
  });

  test('captions say nothing of guidance for a model that has none; its settings bring it back', async () => {
    await page.check('[value=file]');
    await page.setInputFiles('#model-file', BASE);
    await page.click('#load');
    await status(page, 'Ready');
    await fill(page, { seed: 9 });
    await page.press('#seed', 'Tab');
    await generate(page);
    const caption = await edge(page);
    assert.ok(!/guidance/i.test(caption) && /seed 9/.test(caption), caption);
    assert.ok(await page.isDisabled('#compare-guidance'));
    const before = await pixels(page);
    await page.check('[value=fashion]');
    await status(page, 'Ready');
    await generate(page);
    await page.locator('#sheets article').first().getByRole('button', { name: 'Use these settings' }).click();
    await status(page, 'Ready');
    await generate(page);
    assert.equal(await pixels(page), before, 'the file that was picked is loaded again');
  });

  test('opens a .pt file', async () => {
    await page.check('[value=file]');
    await page.setInputFiles('#model-file', folder('tests/fixtures/pt/network.pt'));
    await page.evaluate(() => (document.querySelector('#model-more').open = true));
    await fill(page, { flags: '--image_size 8 --num_heads 1 --noise_schedule cosine --predict_xstart True' });
    await page.click('#load');
    await status(page, 'Ready');
    assert.match(await page.textContent('#model-state'), /^8 × 8 pixels/);
    await generate(page);
    await fill(page, { flags: '' });
  });

  test('a dropped EDM file takes a sampler and steps of its own', async () => {
    await page.evaluate(async (url) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([await (await fetch(url)).blob()], 'edm.safetensors'));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
    }, `${TINY}edm.safetensors`);
    await status(page, 'Preparing');
    await status(page, 'Ready');
    assert.deepEqual([await page.inputValue('#sampler'), await page.inputValue('#steps')], ['heun', '18']);
    await page.evaluate(() => (location.hash = '#count=1&seed=6'));
    await page.waitForFunction(() => document.querySelector('#seed').value === '6');
    assert.deepEqual([await page.inputValue('#sampler'), await page.inputValue('#steps')], ['heun', '18'], 'a link that names no sampler keeps the model’s');
    assert.equal(await page.locator('#sampler option[value=ddim]').count(), 0, 'what cannot sample from it is not offered');
    await generate(page);
    assert.match(await edge(page), /18 heun steps/);
    await generate(page, '#compare-steps');
    assert.deepEqual(await page.locator('#current .frame-name').allTextContents(), ['4 steps', '8 steps', '16 steps', '25 steps']);
    await page.locator('#current button.frame').first().click();
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    assert.equal(await page.textContent('#scrub-state'), 'After step 1 of 4, noise level 99.9 %: the image as predicted there');
    await page.click('#viewer [data-close]');
  });

  test('so does a link to a consistency model, which is sampled in one or two evaluations', async () => {
    const model = encodeURIComponent(site.server.url + TINY + 'consistency.safetensors');
    await page.evaluate((hash) => (location.hash = hash), `#model=${model}&sampler=ddim&steps=25&count=1&seed=4`);
    await status(page, 'Another model');
    await page.click('#load');
    await status(page, 'Ready');
    assert.deepEqual([await page.inputValue('#sampler'), await page.inputValue('#steps')], ['multistep', '2'], 'not what the model cannot do');
    await generate(page);
    assert.match(await edge(page), /2 multistep steps, seed 4/);
    const [two] = [await pixels(page)];
    await generate(page, '#compare-steps');
    assert.deepEqual(await page.locator('#current .frame-name').allTextContents(), ['1 step', '2 steps', '4 steps', '8 steps']);
    assert.equal(await pixels(page, 1), two);
    const one = await pixels(page, 0);
    await page.evaluate(() => (document.querySelector('#more').open = true));
    await page.selectOption('#sampler', 'onestep');
    assert.ok((await page.inputValue('#steps')) === '1' && (await page.isDisabled('#steps')));
    await generate(page);
    assert.match(await edge(page), /1 onestep step, seed 4/);
    assert.equal(await pixels(page), one);
    await page.click('#draw-toggle');
    await page.locator('#brush-size').fill('64'); // the model's pixels are large
    for (const [brush, made] of [
      ['mask', /1 onestep step, seed 4, mended/],
      ['paint', /18 euler steps, seed 4, drawn/],
    ]) {
      await page.click('#draw-clear');
      await page.locator(`[name=brush][value=${brush}]`).check({ force: true });
      await page.focus('#board');
      await page.keyboard.press(' ');
      await generate(page, '#draw-make');
      assert.match(await edge(page), made);
    }
    await page.click('#draw-close');
    await page.check('[value=fashion]');
    await status(page, 'Ready');
    assert.deepEqual([await page.inputValue('#sampler'), await page.inputValue('#steps')], ['ddim', '25']);
    for (const [sampler, steps] of [['dpm++2m', '20'], ['ancestral', '250'], ['ddim', '25']]) {
      await page.selectOption('#sampler', sampler);
      assert.equal(await page.inputValue('#steps'), steps, `${sampler} begins with its own steps`);
    }
  });

  test('walks from seed to seed until it is stopped; the walk is held up, and saved as a clip', async () => {
    await fill(page, { count: 1, steps: 2 });
    await page.press('#steps', 'Tab');
    await page.click('#morph');
    const walked = () => Number(/^(\d+) images so far/.exec(document.querySelector('#detail').textContent)?.[1]) >= 9;
    await page.waitForFunction(walked);
    await page.click('#morph');
    assert.equal(await page.textContent('#morph'), 'Continue');
    assert.equal(await page.textContent('#stage-title'), 'Paused');
    assert.deepEqual(await violations(page), []);
    await page.waitForTimeout(300); // what was being shown
    const held = await page.textContent('#detail');
    await page.waitForTimeout(2000);
    assert.equal(await page.textContent('#detail'), held, 'a walk that is held up shows nothing more');
    await page.click('#morph');
    await page.waitForFunction((before) => document.querySelector('#detail').textContent !== before, held);
    await page.click('#cancel');
    await status(page, 'The walk has ended');
    assert.match(await page.textContent('#count-hint'), /prepared for this number first/, 'fewer images than were compiled for');
    await page.click('#current button.frame');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#viewer-clip')]);
    assert.equal(readFileSync(await download.path()).readUInt32BE(0), 0x1a45dfa3, 'a WebM file');
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    assert.equal(await page.textContent('#scrub-state'), 'Image 1 of the walk');
    await page.click('#viewer [data-close]');
  });

  test('images stay for the next visit, are saved together, and can be cleared', async () => {
    const [present, earlier] = [await enabled(page), await enabled(page, '#sheets')];
    const frames = present + earlier;
    await page.reload();
    await page.waitForFunction((n) => document.querySelectorAll('#sheets button.frame:enabled').length === n, earlier);
    assert.equal(await enabled(page), present, 'the last run is on the stage again');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save-all')]);
    const listed = execFileSync('python3', ['-c', 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(len(z.namelist()))', await download.path()]);
    assert.equal(Number(listed), frames);
    await page.focus('#clear');
    await page.keyboard.press('Enter');
    assert.match(await page.textContent('#clear'), /Delete all \d+ images\? Press again/);
    assert.equal(await enabled(page, '#sheets'), earlier, 'one press deletes nothing');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => !document.querySelector('#sheets button.frame'));
    assert.equal(await enabled(page), present, 'what lies on the stage stays');
    for (const said of [/again$/, /^Clear$/]) {
      await page.keyboard.press('Enter');
      await page.waitForFunction(([source]) => new RegExp(source).test(document.querySelector('#clear').textContent), [said.source]);
    }
    await page.waitForFunction(() => !document.querySelector('button.frame:enabled'));
    assert.equal(await focused(page), 'gallery-title', 'the focus is not lost');
    await page.reload();
    const left = await page.evaluate(async () => {
      const settled = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
      const database = await settled(indexedDB.open('guided-diffusion-page'));
      return Promise.all([...database.objectStoreNames].map((name) => settled(database.transaction(name).objectStore(name).count())));
    });
    assert.deepEqual(left, [0, 0], 'nothing that could be shown');
    assert.deepEqual(messages, []);
  });
});
