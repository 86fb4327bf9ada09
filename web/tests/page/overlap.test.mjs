/**
 * What the page does when things overlap: loads and runs that end late, fail, or are stopped by others. In Chromium, with a package
 * that computes nothing (fake-package.js), so that the test says when each of them ends.
 */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { launchChromium } from '../lib/chromium.mjs';
import { folder as path } from '../lib/folder.mjs';
import { serve } from '../../server.mjs';

const HASH = '#model=fashion&count=3&steps=10&guidance=3&seed=5';
const EMOJI = 'emoji32.safetensors';
const FASHION = 'fashion32.safetensors';

describe('what overlaps', () => {
  let [copy, server, browser, page, messages] = [];
  before(async () => {
    copy = mkdtempSync(join(tmpdir(), 'overlap-'));
    cpSync(path('web/dist'), copy, { recursive: true });
    renameSync(join(copy, 'guided-diffusion/index.js'), join(copy, 'guided-diffusion/real.js'));
    copyFileSync(path('web/tests/page/fake-package.js'), join(copy, 'guided-diffusion/index.js'));
    server = await serve({ '/': copy });
    browser = await launchChromium();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
    rmSync(copy, { recursive: true });
  });
  beforeEach(async () => {
    page = await (await browser.newContext({ serviceWorkers: 'block' })).newPage();
    page.setDefaultTimeout(20_000);
    messages = [];
    page.on('pageerror', (error) => messages.push(error.message));
  });
  afterEach(async () => {
    await page.context().close();
    assert.deepEqual(messages, []);
  });

  async function open(hash = HASH) {
    await page.goto(`${server.url}/${hash}`);
    await page.waitForFunction(() => !document.querySelector('main').inert);
  }
  const title = (wanted) => page.waitForFunction((text) => document.querySelector('#stage-title').textContent.startsWith(text), wanted);
  const hold = (...names) => page.evaluate((all) => all.forEach((name) => fake.hold.add(name)), names);
  const release = (name) => page.evaluate((one) => fake.release(one), name);
  const waiting = (name) => page.waitForFunction((one) => fake.waiting.some((waits) => waits.name === one), name);
  /** A run under way, whose first image waits. */
  async function generating() {
    await open();
    await title('Ready');
    await hold('image');
    await page.click('#generate');
    await waiting('image');
  }
  /** Lets the image that waits be done, until the next one waits. */
  async function nextImage() {
    await page.evaluate(() => {
      fake.waiting.splice(0).forEach(({ resolve }) => resolve());
    });
    await waiting('image');
  }
  const fake = (read) => page.evaluate(`(${read})(window.fake)`);
  const picked = () => page.evaluate(() => new FormData(document.querySelector('#model-form')).get('source'));
  const stage = () => page.evaluate(() => ({ forming: document.querySelectorAll('.forming').length, edge: document.querySelector('#current .edge').textContent }));

  test('the run under way is not ended by a look into an earlier image; Cancel says that it stopped', async () => {
    await open();
    await title('Ready');
    assert.match(await page.textContent('#detail'), /this link’s picture/);
    assert.match((await stage()).edge, /^The link’s picture: All classes, 10 DDIM steps/);
    for (const steps of ['9', '10']) {
      await page.fill('#steps', steps);
      await page.press('#steps', 'Tab');
      assert.match((await stage()).edge, /^To be made \(clothes and shoes\)/);
    }
    await page.click('#generate');
    await title('Done');
    await hold('image');
    await page.click('#generate');
    await waiting('image');
    await page.click('#sheets button.frame');
    await page.evaluate(() => (document.querySelector('#how').open = true));
    assert.ok(await page.isDisabled('#how-show'));
    assert.match(await page.textContent('#how-said'), /at work/);
    await release('image');
    await title('Done');
    assert.ok(await page.isEnabled('#how-show'), 'then it can be asked for');
    assert.equal((await fake((f) => f.made)).length, 6);
    await page.click('#viewer [data-close]');
  });

  test('another model in the middle of a run leaves no half-formed image', async () => {
    await generating();
    // The first image is done, the second one is forming.
    await nextImage();
    await page.check('[value=emoji]', { force: true });
    await title('Ready');
    assert.deepEqual(await stage().then(({ forming, edge }) => [forming, /Stopped: 1 of 3 finished/.test(edge)]), [0, true]);
    assert.equal(await page.locator('#current .unfinished:visible').count(), 1, 'what was begun stays, marked as unfinished');
    assert.equal(await page.locator('#current li:visible').count(), 2, 'what was not begun does not');
  });

  test('a device that is lost leaves none either, and its model is loaded again', async () => {
    await generating();
    await page.evaluate(() => fake.lose());
    await page.waitForSelector('#notice h3');
    assert.deepEqual(await stage().then(({ forming, edge }) => [forming, /Stopped: 0 of 3/.test(edge)]), [0, true]);
    await release('image');
    await page.click('#notice button');
    await title('Ready');
    assert.deepEqual(await fake((f) => f.loads), [FASHION, FASHION]);
  });

  test('a cancelled run leaves what was begun in the picker; a cancelled load does not', async () => {
    await open();
    await title('Ready');
    await page.check('[value=file]', { force: true });
    await hold('image', EMOJI);
    await page.click('#generate');
    await waiting('image');
    await page.click('#cancel');
    await title('Cancelled');
    assert.equal(await picked(), 'file');
    await page.check('[value=emoji]', { force: true });
    await waiting(EMOJI);
    await page.click('#cancel');
    await title('Cancelled');
    assert.equal(await picked(), 'fashion');
  });

  test('“Use these settings” while another model is on its way brings back their own', async () => {
    await open();
    await title('Ready');
    await page.click('#generate');
    await title('Done');
    await hold(EMOJI);
    await page.check('[value=emoji]', { force: true });
    await waiting(EMOJI);
    await page.getByRole('button', { name: 'Use these settings' }).first().click();
    await title('Ready');
    assert.equal(await picked(), 'fashion', 'the picker follows');
    assert.deepEqual([await page.inputValue('#guidance'), await page.inputValue('#steps')], ['3', '10']);
    assert.deepEqual(await fake((f) => f.loads), [FASHION, EMOJI], 'what is in use is not loaded again');
    await release(EMOJI);
    await page.check('[value=emoji]', { force: true });
    await title('Ready');
    assert.equal((await fake((f) => f.loads)).length, 3, 'and pressing the other one loads it');
  });

  test('a link to the model in use, pasted while another one is on its way, stops that', async () => {
    await open();
    await title('Ready');
    await hold(EMOJI);
    await page.check('[value=emoji]', { force: true });
    await waiting(EMOJI);
    await page.evaluate(() => (location.hash = '#model=fashion&count=1&steps=7&seed=1'));
    await title('Ready');
    assert.deepEqual([await picked(), await page.inputValue('#steps')], ['fashion', '7']);
    await release(EMOJI);
    await page.click('#generate');
    await title('Done');
    assert.match(await page.evaluate(() => location.hash), /model=fashion/);
  });

  test('a load that ends although it was stopped changes nothing', async () => {
    await open('#model=emoji&count=3');
    await title('Ready');
    await page.evaluate(() => {
      // As a worker whose answer is on its way already.
      AbortSignal.prototype.throwIfAborted = () => undefined;
      fake.hold.add('emoji32-to-64.safetensors').add('fashion32.safetensors');
      AbortSignal.prototype.addEventListener = () => undefined;
    });
    await page.check('[value=stack]', { force: true });
    await waiting('emoji32-to-64.safetensors');
    await page.check('[value=fashion]', { force: true });
    await release('emoji32-to-64.safetensors');
    await waiting(FASHION);
    assert.ok(await page.isVisible('#cancel'), 'the newer load is still under way');
    await release(FASHION);
    await title('Ready');
    assert.ok(await page.isHidden('#notice'));
    assert.equal(await picked(), 'fashion');
  });

  test('settings that are used again leave a link’s offer; “smaller” loads what failed', async () => {
    await open();
    await title('Ready');
    await page.click('#generate');
    await title('Done');
    await page.evaluate(() => (location.hash = '#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&sampler=heun&steps=30&seed=2'));
    await title('Another model');
    await page.click('#generate');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'load');
    await page.getByRole('button', { name: 'Use these settings' }).first().click();
    assert.deepEqual([await picked(), await page.inputValue('#sampler'), await page.inputValue('#steps')], ['fashion', 'ddim', '10']);
    await page.click('#generate');
    await title('Done');
    await page.evaluate((name) => (fake.fail[name] = 'too-large'), EMOJI);
    await page.click('[value=emoji]', { force: true });
    await page.waitForSelector('#notice h3');
    assert.equal(await page.textContent('#stage-title'), 'Not loaded');
    await page.evaluate(() => (document.querySelector('[value=url]').checked = true));
    await page.getByRole('button', { name: 'One image at a time' }).click();
    await title('Ready');
    assert.deepEqual([await picked(), await page.inputValue('#batch'), (await fake((f) => f.loads)).at(-1)], ['emoji', '1', EMOJI]);
  });

  test('a link’s settings are for its own model only', async () => {
    await open('#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&sampler=heun&steps=30&count=1&seed=2&label=3&first=8');
    await title('Another model');
    await page.check('[value=emoji]', { force: true });
    await title('Ready');
    assert.deepEqual([await page.inputValue('#sampler'), await page.inputValue('#steps')], ['ddim', '4'], 'what emoji are good with');
    assert.deepEqual([await page.inputValue('#class'), await page.inputValue('#first')], ['All classes', '0'], 'its class is another one there');
    await page.evaluate(() => (location.hash = '#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&sampler=euler&steps=30&seed=3'));
    await title('Another model');
    await page.click('#load');
    await title('Ready');
    assert.deepEqual([await page.inputValue('#sampler'), await page.inputValue('#steps')], ['euler', '30'], 'but for it they are');
  });

  test('what was cancelled does not begin by itself when the network is back; what failed does', async () => {
    await open();
    await title('Ready');
    await page.evaluate(() => fake.lose());
    await page.waitForSelector('#notice h3');
    await hold(FASHION);
    await page.click('#notice button');
    await waiting(FASHION);
    await page.click('#cancel');
    await title('Cancelled');
    const before = (await fake((f) => f.loads)).length;
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await release(FASHION);
    assert.equal((await fake((f) => f.loads)).length, before);
    await page.evaluate((name) => (fake.fail[name] = 'network'), FASHION);
    await page.click('#generate');
    await page.waitForSelector('#notice h3');
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await title('Ready');
  });

  test('the opening of a GPU need not be waited for', async () => {
    await page.addInitScript(() => {
      Object.defineProperty(window, 'fake', {
        configurable: true,
        set(value) {
          Object.defineProperty(window, 'fake', { value, writable: true });
          value.hold.add('engine');
        },
      });
    });
    await open();
    await waiting('engine');
    await page.click('#cancel');
    await title('Cancelled');
    await release('engine');
    await page.click('#generate');
    await title('Done');
  });

  test('a link is to the image at hand, and what a link cannot hold has none', async () => {
    await open();
    await title('Ready');
    await page.evaluate(() => {
      navigator.clipboard.writeText = async (text) => void (window.copied = text);
    });
    await page.click('#compare-guidance');
    await title('Done');
    assert.ok(await page.isHidden('#current .sheet-head button:nth-of-type(2)'));
    await page.locator('#current button.frame').last().click();
    await page.click('#viewer-link');
    assert.match(await page.evaluate(() => window.copied), /count=1.*guidance=8&seed=5/);
    await page.click('#viewer [data-close]');
    await page.click('#draw-toggle');
    await page.focus('#board');
    await page.keyboard.press(' ');
    await page.click('#draw-make');
    await page.waitForFunction(() => /drawn/.test(document.querySelector('#current .edge').textContent));
    await title('Done');
    await page.locator('#current button.frame').first().click();
    assert.deepEqual([await page.isDisabled('#viewer-link'), await page.isEnabled('#viewer-again')], [true, true]);
    await page.click('#viewer [data-close]');
  });

  test('“Clear” deletes at its second press only', async () => {
    await open();
    await title('Ready');
    for (let k = 0; k < 2; k++) {
      await page.click('#generate');
      await page.waitForFunction((n) => document.querySelectorAll('button.frame:enabled').length === n, 3 * (k + 1));
      await title('Done');
    }
    await page.click('#clear');
    assert.equal(await page.textContent('#clear'), 'Delete all 3 images? Press again');
    assert.equal(await page.locator('#sheets button.frame:enabled').count(), 3);
    await page.click('#clear');
    await page.waitForFunction(() => !document.querySelector('#sheets button.frame'));
    assert.equal(await page.locator('#current button.frame:enabled').count(), 3, 'what lies on the stage stays');
  });

  test('what is stored is listed where no GPU opens', async () => {
    await page.addInitScript(() => {
      Object.defineProperty(window, 'fake', {
        configurable: true,
        set(value) {
          Object.defineProperty(window, 'fake', { value, writable: true });
          value.fail.engine = 'no-adapter';
        },
      });
    });
    await open();
    await page.waitForSelector('#notice h3');
    await page.click('#stored-open');
    await page.waitForFunction(() => /kept/.test(document.querySelector('#stored-list').textContent));
    await page.click('#stored [data-close]');
  });

  test('an address that cannot be changed stops no run, and “Live” changes it when it rests', async () => {
    await open();
    await title('Ready');
    await page.evaluate(() => {
      window.changes = 0;
      history.replaceState = () => {
        window.changes++;
        throw new DOMException('too many calls', 'SecurityError');
      };
    });
    await page.click('#generate');
    await title('Done');
    assert.equal(await page.evaluate(() => window.changes), 1);
    await page.click('#live-mode');
    await title('Live');
    for (const value of [2, 4, 6, 8]) {
      await page.fill('#guidance', String(value));
      await page.waitForFunction((text) => document.querySelector('#current .edge').textContent.includes(`guidance ${text}`), value);
    }
    await page.waitForFunction(() => window.changes > 1);
    assert.ok((await page.evaluate(() => window.changes)) < 5, 'not at each image');
    assert.ok(await page.isHidden('#notice'));
  });

  test('names in the ZIP file are plain, whatever classes are called; “Copy link” is called so again', async () => {
    await open();
    await title('Ready');
    await page.click('#generate');
    await title('Done');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save-all')]);
    const file = readFileSync(await download.path());
    const names = [];
    for (let at = 0; file.readUInt32LE(at) === 0x04034b50; at += 30 + file.readUInt16LE(at + 26) + file.readUInt32LE(at + 18)) {
      names.push(file.toString('utf8', at + 30, at + 30 + file.readUInt16LE(at + 26)));
    }
    assert.deepEqual(names, ['001-t-shirt-top-seed-5-1.png', '001-fashion32-safetensors-1-seed-5-2.png', '001-fashion32-safetensors-2-seed-5-3.png']);
    const link = page.locator('#current .sheet-head button').nth(1);
    for (let k = 0; k < 2; k++) {
      await link.click();
      await page.waitForFunction(() => /copied|allowed/.test(document.querySelectorAll('#current .sheet-head button')[1].textContent));
    }
    await page.waitForFunction(() => document.querySelectorAll('#current .sheet-head button')[1].textContent === 'Copy link');
  });

  test('each image is kept when it is made, with its trail, also where the page is left in the middle', async () => {
    await generating();
    await nextImage();
    const kept = () =>
      page.evaluate(async () => {
        const settled = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
        const database = await settled(indexedDB.open('guided-diffusion-page'));
        const count = await settled(database.transaction('pictures').objectStore('pictures').count());
        database.close();
        return count;
      });
    while ((await kept()) === 0) await page.waitForTimeout(20);
    await page.reload();
    await page.waitForSelector('#sheets button.frame:enabled');
    assert.equal(await page.locator('#sheets button.frame:enabled').count(), 1);
    await page.click('#sheets button.frame:enabled');
    assert.ok(await page.isVisible('#scrub'));
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    assert.match(await page.textContent('#scrub-state'), /After step 1/);
    await page.click('#viewer [data-close]');
  });

  test('what an earlier version kept is shown; one sheet that cannot be read hides no other', async () => {
    // Any other address of the origin will do.
    await page.goto(`${server.url}/style.css`);
    await page.evaluate(async () => {
      const request = indexedDB.open('guided-diffusion-page', 1);
      request.onupgradeneeded = () => request.result.createObjectStore('sheets', { keyPath: 'id' });
      await new Promise((resolve) => (request.onsuccess = resolve));
      const png = async (width, height) => {
        const canvas = new OffscreenCanvas(width, height);
        canvas.getContext('2d').fillRect(0, 0, width, height);
        return canvas.convertToBlob();
      };
      const settings = { label: 1, count: 1, steps: 4, sampler: 'ddim', eta: 0, guidance: 2, seed: 7n, first: 0 };
      const facts = { classes: 10, classNames: [], guided: true, diffusionSteps: 1000, process: 'discrete' };
      const job = { kind: 'images', settings, cells: [{ settings, index: 0, label: 1, name: 'Old' }], parts: [], facts, modelName: 'Old', model: null, choice: null };
      const pictures = [{ at: 0, blob: await png(8, 8), parameters: {}, steps: [1, 2], strip: await png(8, 16) }];
      const transaction = request.result.transaction('sheets', 'readwrite');
      transaction.objectStore('sheets').put({ id: 'a', time: 1, job, pictures });
      transaction.objectStore('sheets').put({ id: 'b', time: 2, job: { ...job, cells: null }, pictures });
      await new Promise((resolve) => (transaction.oncomplete = resolve));
      request.result.close();
    });
    await open();
    await page.waitForSelector('#sheets button.frame:enabled');
    assert.deepEqual(await page.locator('#sheets .frame-name').allTextContents(), ['Old']);
    await page.click('#sheets button.frame:enabled');
    assert.match(await page.getAttribute('#scrub', 'max'), /2/);
    await page.click('#viewer [data-close]');
  });

  test('a browser that has no room for images says so', async () => {
    await page.addInitScript(() => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException('no room', 'QuotaExceededError');
      };
    });
    await open();
    await title('Ready');
    await page.click('#generate');
    await title('Done');
    assert.match(await page.textContent('#gallery-kept'), /keeps no more images.*no room/);
  });

  test('a drag that began beside the board draws nothing; marks are offered only where a sampler edits', async () => {
    await open();
    await title('Ready');
    await page.click('#draw-toggle');
    const { x, y, width } = await page.locator('#board').boundingBox();
    const at = (share) => [x + share * width, y + share * width];
    const level = (share) => page.evaluate((k) => document.querySelector('#board').getContext('2d').getImageData(256 * k, 256 * k, 1, 1).data[0], share);
    await page.mouse.click(...at(0.1));
    assert.ok((await level(0.1)) > 100);
    await page.mouse.move(x - 30, y - 30);
    await page.mouse.down();
    await page.mouse.move(...at(0.9), { steps: 4 });
    await page.mouse.up();
    assert.deepEqual([await level(0.5), await level(0.9)], [0, 0]);
    await page.check('#brush-mark', { force: true });
    await page.evaluate(() => (location.hash = '#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&seed=2'));
    await title('Another model');
    await page.click('#load');
    await title('Ready');
    assert.deepEqual([await page.isDisabled('#brush-mark'), await page.isChecked('#brush-paint')], [true, true]);
    await page.reload();
    await title('Another model');
    await page.click('#draw-toggle');
    // A reload keeps the drawing.
    await page.waitForFunction(() => document.querySelector('#board').getContext('2d').getImageData(25, 25, 1, 1).data[0] > 100);
  });

  test('of a stack that is stopped in its second stage, the small images stay', async () => {
    await open(HASH.replace('fashion', 'stack'));
    await title('Ready');
    assert.match(await page.textContent('#morph + p'), /^Not with two stages/);
    await hold('large');
    await page.click('#generate');
    await waiting('large');
    await page.click('#cancel');
    await title('Cancelled');
    assert.equal(await page.locator('#current button.frame:enabled').count(), 3);
    assert.match((await stage()).edge, /Stopped: 0 of 3 enlarged/);
  });

  test('a link may name any number within the bounds', async () => {
    await open('#model=fashion&count=1&steps=4&guidance=2.25&eta=0.33&sampler=ddim&seed=1');
    await title('Ready');
    await page.click('#generate');
    await title('Done');
    assert.match(await page.textContent('#current .edge'), /eta 0.33, guidance 2.25/);
  });

  test('“Try again” makes what is left', async () => {
    await generating();
    await nextImage();
    await page.evaluate(() => (fake.fail.image = 'out-of-memory'));
    await release('image');
    await page.waitForSelector('#notice h3');
    await page.getByRole('button', { name: 'Try again' }).click();
    await title('Done');
    assert.deepEqual((await fake((f) => f.made)).map(({ index, label }) => [index, label]), [[0, 0], [1, 1], [2, 2]]);
    assert.match(await page.textContent('#detail'), /^2 images/);
  });

  test('in a window of 1280 x 800 no setting lies under Generate, nor does the focus, with everything open', async () => {
    await page.setViewportSize({ width: 1280, height: 800 });
    await open();
    await title('Ready');
    /** Where things end, and where Generate's bar begins. */
    const edges = (selector) =>
      page.evaluate((one) => [one, '.panel .action'].map((s) => document.querySelector(s).getBoundingClientRect()).map(({ top, bottom }) => [top, bottom]), selector);
    for (const selector of ['#guidance', '#more']) {
      const [[, bottom], [top, end]] = await edges(selector);
      assert.ok(bottom <= top && end <= 800, `${selector} ends at ${bottom}, the bar is from ${top} to ${end}`);
    }
    await page.click('#more summary');
    assert.match(await page.textContent('#sampler-hint'), /^DDIM: along the predicted noise/);
    for (const selector of ['#eta', '#first']) {
      await page.keyboard.press('Tab');
      if (selector === '#eta') await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement.id), selector.slice(1));
      const [[, bottom], [top]] = await edges(selector);
      assert.ok(bottom <= top, `${selector} ends at ${bottom}, the bar begins at ${top}`);
    }
  });
});
