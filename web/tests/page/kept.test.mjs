/** What the page announces, keeps, names and shares. In Chromium, with a package that computes nothing. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { violations } from './axe.mjs';
import { EMOJI, HASH, onFakePage } from './fake.mjs';

describe('what is kept and shown', () => {
  const onPage = onFakePage();

  onPage('until images are made, examples are shown, and called so', async ({ page, open, title, release, waiting, paste, generate, edge }) => {
    // What could not be fetched once is fetched again.
    await page.route('**/recorded.json', (route) => route.fulfill({ status: 503, body: '{}' }), { times: 1 });
    await open('', { hold: [EMOJI] });
    await waiting(EMOJI);
    await page.waitForFunction(() => performance.getEntriesByName(new URL('recorded.json', location).href).length > 0);
    assert.match(await edge(), /^To be made \(emoji\)/);
    await release(EMOJI);
    await title('Ready');
    await page.waitForFunction(() => document.querySelector('#current > .examples .edge')?.textContent === 'Examples until yours are made. Recorded: twelve classes, seed 7');
    /** How much of a frame is white: noise has a quarter (its opacity) and little more, emoji lie on it. */
    const white = (at) => page.evaluate((k) => {
      const canvas = document.querySelectorAll('#current canvas')[k];
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((level) => level > 240).length / data.length;
    }, at);
    assert.ok((await white(3)) > 0.4, `${await white(3)} of it is white`);
    assert.ok(await page.isDisabled('#current button.frame'), 'they cannot be opened');
    assert.deepEqual(await violations(page), []);
    await paste('#model=emoji&label=3&count=2');
    await page.waitForFunction(() => document.querySelectorAll('#current > .examples canvas').length === 2);
    assert.ok((await white(0)) > 0.4 && (await white(1)) < 0.35, `of one class there is one example: ${await white(0)}, ${await white(1)}`);
    await paste('#model=emoji&count=2');
    await generate();
    assert.match(await edge(), /^All classes/);
    assert.equal(await page.locator('.examples').count(), 0);
  });

  onPage('where a model fails, another one is offered', async ({ page, open, title, ask, picked }) => {
    await open('', { fail: { [EMOJI]: 'bad-file' } });
    await page.waitForSelector('#notice h3');
    const offered = () => page.locator('#notice button').allTextContents();
    assert.deepEqual(await offered(), ['Use the fashion model', 'Dismiss']);
    await page.click('#notice button');
    await title('Ready');
    assert.equal(await picked(), 'fashion');
    await ask((f) => (f.fail['emoji32.safetensors'] = 'too-large'));
    await page.evaluate(() => (location.hash = '#model=emoji-guided'));
    await page.waitForSelector('#notice h3');
    assert.deepEqual(await offered(), ['One image at a time, 16-bit weights', 'Use the emoji model']);
  });

  onPage('after a reload, the address that the page wrote is no link, and the seed is used no second time', async ({ page, ready, title, generate, paste, edge, values }) => {
    await ready('');
    await page.fill('#count', '1');
    await generate();
    const [seed] = await values('seed');
    await page.reload();
    await title('Ready');
    assert.deepEqual(await values('seed', 'count'), [seed, '1']);
    assert.doesNotMatch(`${await edge()} ${await page.textContent('#detail')}`, /link/);
    assert.equal(await page.getAttribute('#dice', 'aria-pressed'), 'true');
    await generate();
    assert.notDeepEqual(await values('seed'), [seed]);
    await page.click('#dice');
    await generate();
    await page.reload();
    await title('Ready');
    assert.equal(await page.getAttribute('#dice', 'aria-pressed'), 'false', 'a seed that was kept stays');
    await paste('#model=emoji&count=2&seed=9');
    await page.waitForFunction(() => /link’s picture/.test(document.querySelector('#detail').textContent));
    assert.equal(await page.locator('#current button.frame:enabled').count(), 1, 'the last run is on the stage, before and after a link');
  });

  onPage('after a reload the run of this tab is on the stage, not a newer one of another', async ({ page, url, ready, generate }) => {
    await ready();
    await generate();
    const other = await page.context().newPage();
    await other.goto(`${url}/${HASH.replace('count=3', 'count=1')}`);
    await other.click('#generate');
    await other.waitForSelector('#current button.frame:enabled');
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll('#sheets button.frame:enabled').length === 1);
    assert.equal(await page.locator('#current button.frame:enabled').count(), 3);
  });

  onPage('a guidance of one’s own stays where a classifier comes; its gradient is explained where there is one', async ({ page, ready, title, generate, values }) => {
    const explained = async () => {
      await generate();
      await page.click('#current button.frame:enabled');
      if (!(await page.getAttribute('#how', 'open'))) await page.evaluate(() => (document.querySelector('#how').open = true));
      const seen = await page.isVisible('#how-guides');
      await page.click('#viewer [data-close]');
      return seen;
    };
    /** Loads the emoji with the classifier, or without. */
    const toggle = async () => {
      const loads = await page.evaluate(() => fake.loads.length);
      await page.click('#guided');
      await page.waitForFunction((before) => fake.loads.length > before, loads);
      await title('Ready');
    };
    await ready('#model=emoji&count=1&seed=1');
    assert.deepEqual([await values('guidance'), await explained()], [['1'], false]);
    await toggle();
    assert.deepEqual([await values('guidance'), await explained()], [['2'], true], 'the usual one follows');
    await page.fill('#guidance', '3.5');
    await toggle();
    await toggle();
    assert.deepEqual(await values('guidance'), ['3.5']);
  });

  onPage('a number of images that needs other kernels is announced', async ({ page, ready }) => {
    await ready();
    const [before] = await page.evaluate(() => [document.querySelector('#seed').getBoundingClientRect().top]);
    for (const [count, said] of [['3', ''], ['10', 'The GPU is prepared for this number first.']]) {
      await page.fill('#count', count);
      await page.press('#count', 'Tab');
      assert.equal((await page.textContent('#count-hint')).trim(), said);
      assert.equal(await page.evaluate(() => document.querySelector('#seed').getBoundingClientRect().top), before, 'nothing moves');
    }
  });

  onPage('a link is to the image at hand, and what a link cannot hold has none', async ({ page, ready, title }) => {
    await ready();
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

  onPage('“Clear” deletes at its second press only', async ({ page, ready, title }) => {
    await ready();
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
    await page.click('#clear');
    await page.click('#clear');
    await page.waitForFunction(() => /^To be made/.test(document.querySelector('#current .edge').textContent));
    assert.ok(await page.isHidden('#clear'), 'nothing is left');
    await page.reload();
    await title('Ready');
    assert.equal(await page.locator('button.frame:enabled').count(), 0);
  });

  onPage('“Clear” waits for the end of the run that fills the stage; what it deleted is gone at once, also while a model loads', async ({ page, generating, nextImage, release, title, hold, pick, waiting, edge }) => {
    await generating();
    await nextImage();
    await page.waitForSelector('#clear');
    assert.ok(await page.isDisabled('#clear'));
    await release('image');
    await title('Done');
    await hold(EMOJI);
    await pick('emoji');
    await waiting(EMOJI);
    await page.click('#clear');
    assert.equal(await page.textContent('#clear'), 'Delete all 3 images? Press again');
    await page.click('#clear');
    await page.waitForFunction(() => !document.querySelector('button.frame:enabled'));
    await release(EMOJI);
    await title('Ready');
    assert.match(await edge(), /^(To be made|Examples)/);
  });

  onPage('what is stored is listed where no GPU opens', async ({ page, open }) => {
    await open(HASH, { fail: { engine: 'no-adapter' } });
    await page.waitForSelector('#notice h3');
    await page.click('#stored-open');
    await page.waitForFunction(() => /kept/.test(document.querySelector('#stored-list').textContent));
    await page.click('#stored [data-close]');
  });

  onPage('an address that cannot be changed stops no run, and “Live” changes it when it rests', async ({ page, ready, title, generate }) => {
    await ready();
    await page.evaluate(() => {
      window.changes = 0;
      history.replaceState = () => {
        window.changes++;
        throw new DOMException('too many calls', 'SecurityError');
      };
    });
    await generate();
    assert.equal(await page.evaluate(() => window.changes), 1);
    await page.click('#live-mode');
    await title('Live');
    assert.match(await page.textContent('#detail'), /keeps no images/);
    for (const value of [2, 4, 6, 8]) {
      await page.fill('#guidance', String(value));
      await page.waitForFunction((text) => document.querySelector('#current .edge').textContent.includes(`guidance ${text}`), value);
    }
    await page.waitForFunction(() => window.changes > 1);
    await title('Live');
    await page.press('#guidance', 'Tab');
    assert.equal(await page.locator('#current button.frame:enabled').count(), 3, 'its images stay when the field is left');
    assert.ok((await page.evaluate(() => window.changes)) < 5, 'not at each image');
    assert.ok(await page.isHidden('#notice'));
  });

  onPage('names in the ZIP file are plain, whatever classes are called; “Copy link” is called so again', async ({ page, ready, generate }) => {
    await ready();
    await generate();
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

  onPage('each image is kept when it is made, with its trail, also where the page is left in the middle', async ({ page, generating, nextImage }) => {
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
    await page.waitForSelector('#current button.frame:enabled');
    assert.equal(await page.locator('button.frame:enabled').count(), 1);
    assert.match(await page.textContent('#current .edge'), /Stopped: 1 of 3 finished$/);
    await page.click('#current button.frame:enabled');
    assert.ok(await page.isVisible('#scrub'));
    await page.focus('#scrub');
    await page.keyboard.press('Home');
    assert.match(await page.textContent('#scrub-state'), /After step 1/);
    await page.click('#viewer [data-close]');
  });

  onPage('what an earlier version kept is shown; one sheet that cannot be read hides no other', async ({ page, url, open }) => {
    // Any other address of the origin will do.
    await page.goto(`${url}/style.css`);
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

  onPage('a browser that has no room for images says so', async ({ page, ready, generate }) => {
    await page.addInitScript(() => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException('no room', 'QuotaExceededError');
      };
    });
    await ready();
    await generate();
    assert.match(await page.textContent('#gallery-kept'), /keeps no more images.*no room/);
  });

  onPage('a drag that began beside the board draws nothing; marks are offered only where a sampler edits', async ({ page, ready, title, paste }) => {
    await ready();
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
    assert.ok(await page.isDisabled('#brush-colour'), 'a mark has a colour of its own');
    await paste('#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&seed=2');
    await title('Another model');
    await page.click('#load');
    await title('Ready');
    assert.deepEqual([await page.isDisabled('#brush-mark'), await page.isChecked('#brush-paint'), await page.isEnabled('#brush-colour')], [true, true, true]);
    await page.reload();
    await title('Another model');
    await page.click('#draw-toggle');
    // A reload keeps the drawing.
    await page.waitForFunction(() => document.querySelector('#board').getContext('2d').getImageData(25, 25, 1, 1).data[0] > 100);
  });

  onPage('a link may name any number within the bounds', async ({ ready, generate, edge }) => {
    await ready('#model=fashion&count=1&steps=4&guidance=2.25&eta=0.33&sampler=ddim&seed=1');
    await generate();
    assert.match(await edge(), /eta 0.33, guidance 2.25/);
  });
});
