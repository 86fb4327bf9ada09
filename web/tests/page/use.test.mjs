/** The page as a visitor uses it, on one page: generate with guidance, watch, cancel, go on, save, all by keyboard too. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { counts, fill, generate, pixels, start, status } from './harness.mjs';

const focused = (page) => page.evaluate(() => document.activeElement.id);

/** Runs in the page: collects what the first frame shows, at every frame of the screen, until `window.watching` is false. */
function watchFrame() {
  window.pictures = new Set();
  window.watching = true;
  const look = () => {
    const canvas = document.querySelector('#current canvas');
    window.pictures.add(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.join());
    if (window.watching) requestAnimationFrame(look);
  };
  look();
}

describe('the page in use', () => {
  let [site, context, page, messages, longTasks] = [];
  before(async () => {
    site = await start({ trained: true });
    // Processors that are shared compute at half their speed now and then: what a page itself does for long is long at each start.
    for (let starts = 0; starts < 3; starts++) {
      await context?.close();
      ({ context, page, messages, longTasks } = await site.open({ hash: '#model=fashion&label=9&count=1&steps=8&guidance=3&seed=5' }));
      await status(page, 'Ready');
      if (!(await longTasks.found()).length) break;
    }
  });
  after(() => site?.close());

  test('generates with guidance and shows previews', async () => {
    assert.equal(await page.inputValue('#class'), 'Ankle boot');
    await page.evaluate(watchFrame);
    await generate(page);
    const seen = await page.evaluate(() => {
      window.watching = false;
      return window.pictures.size;
    });
    assert.ok(seen >= 5, `noise and at least four previews, not ${seen} pictures`);
    assert.equal(new URL(page.url()).hash, '#model=fashion&label=9&count=1&steps=8&sampler=ddim&guidance=3&seed=5');
  });

  test('nothing moved by itself, no task was long', async () => {
    // Web Vitals calls 0.1 good; that much would be seen here.
    const shifts = await page.evaluate(() => window.shifts);
    assert.ok(shifts.reduce((sum, { value }) => sum + value, 0) < 0.01, JSON.stringify(shifts));
    assert.deepEqual(await longTasks.found(), []);
  });

  test('cancels midway, and the same settings give the same image again', async () => {
    const first = await pixels(page);
    await fill(page, { steps: 200 });
    await page.click('#generate');
    await status(page, 'Step 2');
    await page.click('#cancel');
    await status(page, 'Cancelled');
    assert.equal(await page.locator('#sheets canvas').count(), 1, 'the finished image moved down');
    assert.equal(await page.locator('#current button.frame:enabled').count(), 0, 'a cancelled run has no image');

    await fill(page, { steps: 8 });
    await generate(page);
    assert.equal(await pixels(page), first);
    await fill(page, { guidance: 0 });
    await generate(page);
    assert.notEqual(await pixels(page), first, 'guidance makes a difference');
  });

  test('opens an image, saves it with its parameters, copies settings and link, takes the seed', async () => {
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.click('#dice');
    assert.equal(await page.getAttribute('#dice', 'aria-pressed'), 'true');
    await fill(page, { steps: 2 });
    await generate(page);
    const seed = await page.inputValue('#seed');
    assert.notEqual(seed, '5');
    const first = await pixels(page);
    await fill(page, { steps: 1001 });
    await page.click('#generate');
    assert.equal(await page.inputValue('#seed'), seed, 'a run that does not begin rolls no dice');
    await fill(page, { steps: 2 });
    await page.locator('#current').getByRole('button', { name: 'Ankle boot, image 1 of 1' }).click();
    assert.equal(await page.textContent('#viewer-title'), 'Ankle boot');

    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#viewer-download')]);
    assert.equal(download.suggestedFilename(), `ankle-boot-seed-${seed}-1.png`);
    const png = (await readFile(await download.path())).toString('latin1');
    assert.ok(png.startsWith('\x89PNG') && png.includes(seed) && png.includes('Ankle boot'), 'the file says its seed and class');

    const clipboard = async (button, said) => {
      await page.click(button);
      await page.waitForFunction((text) => document.querySelector('#viewer-said').textContent === text, said);
      return page.evaluate(() => navigator.clipboard.readText());
    };
    await page.click('#viewer-more summary');
    assert.ok((await clipboard('#viewer-copy', 'Settings copied')).includes(`seed: ${seed}`));
    const link = await clipboard('#viewer-link', 'Link copied');
    assert.equal(link, `${site.address}#model=fashion&label=9&count=1&steps=2&sampler=ddim&guidance=0&seed=${seed}`);

    await page.click('#viewer-seed');
    assert.equal(await page.getAttribute('#dice', 'aria-pressed'), 'false');
    await generate(page);
    assert.equal(await pixels(page), first, 'the same seed gives the same image');
  });

  test('works with the keyboard alone', async () => {
    await page.focus('#class');
    await page.keyboard.type('sNea');
    assert.equal(await page.getAttribute('#class', 'aria-activedescendant'), 'class-0');
    await page.keyboard.press('Enter');
    assert.equal(await page.inputValue('#class'), 'Sneaker');
    assert.equal(await page.getAttribute('#class', 'aria-expanded'), 'false');
    await page.keyboard.type('nothing of this name');
    await page.keyboard.press('Tab');
    assert.equal(await page.inputValue('#class'), 'nothing of this name', 'what is no class stays to be put right');
    await page.click('#generate');
    const shown = await page.evaluate(() => [document.activeElement.id, document.activeElement.validationMessage]);
    assert.equal(shown[0], 'class');
    assert.match(shown[1], /no class “nothing of this name”.*there are 10/);
    assert.ok(await page.isVisible('#generate'), 'no other class is made instead');
    await page.fill('#class', 'Sneakers');
    await page.keyboard.press('Escape');
    assert.equal(await page.inputValue('#class'), 'Sneaker', 'Escape goes back to the choice');
    assert.ok(await page.evaluate(() => document.querySelector('#class').validity.valid));

    await page.focus('#steps');
    await fill(page, { steps: 1001 });
    await page.keyboard.press('Enter');
    const problem = await page.evaluate(() => document.querySelector('#steps').validationMessage);
    assert.equal(problem, 'Please enter a whole number from 2 to 1000.');
    await fill(page, { steps: 200 });
    await page.keyboard.press('Enter');
    await status(page, 'Step');
    await page.keyboard.press('Escape');
    await status(page, 'Cancelled');
    // The two buttons take each other's place, and the focus with it.
    await page.focus('#generate');
    await page.keyboard.press('Enter');
    await status(page, 'Step');
    assert.equal(await focused(page), 'cancel');
    await page.keyboard.press('Enter');
    await status(page, 'Cancelled');
    assert.equal(await focused(page), 'generate');
  });

  test('a link that is pasted over the address is taken', async () => {
    await page.evaluate(() => (location.hash = '#label=3&count=2&steps=3&guidance=1.5&seed=11'));
    await page.waitForFunction(() => document.querySelector('#seed').value === '11');
    assert.equal(await page.inputValue('#class'), 'Dress');
    assert.equal(await page.locator('#current canvas').count(), 2, 'the frames that Generate will fill');
    await page.evaluate(() => (location.hash = '#label=12&count=1&steps=3&seed=12'));
    await page.waitForFunction(() => document.querySelector('#seed').value === '12');
    await page.click('#generate');
    assert.match(await page.evaluate(() => document.activeElement.validationMessage), /no class “Class 12”/);
    assert.ok(await page.isVisible('#generate'), 'no other class is made instead');
    await page.evaluate(() => (location.hash = '#label=3&count=1&steps=3&guidance=1.5&seed=11'));
    await page.waitForFunction(() => document.querySelector('#class').value === 'Dress');
  });

  test('memory comes back to its start after 20 rounds of generate and cancel', async () => {
    const session = await context.newCDPSession(page);
    const measure = async () => {
      await session.send('HeapProfiler.collectGarbage');
      // Pixels lie in the backing storage.
      const { usedSize, backingStorageSize } = await session.send('Runtime.getHeapUsage');
      assert.ok(backingStorageSize > 0, 'the bytes of images are counted');
      const nodes = await page.evaluate(() => document.querySelectorAll('*').length);
      return { page: usedSize + backingStorageSize, nodes, worker: await counts(page) };
    };
    const round = async () => {
      await page.click('#generate');
      await status(page, 'Step');
      await page.click('#cancel');
      await status(page, 'Cancelled');
    };
    await fill(page, { count: 1, steps: 200, guidance: 1 });
    await page.click('#clear', { clickCount: 2 });
    for (let k = 0; k < 3; k++) await round(); // what is made once is no leak
    // A round that kept no more than its 4 KiB of pixels would show. The engine's own caches and compiled code come once in a
    // while; what is kept each round comes in every set of rounds.
    let [start, kept] = [await measure(), []];
    while (kept.length < 3 && !(kept.at(-1) < 20 * 4096)) {
      for (let k = 0; k < 20; k++) await round();
      const end = await measure();
      assert.ok(start.worker.gpuBytes > 1e6 && start.worker.wasm > 1e6, `the hook sees the worker: ${JSON.stringify(start)}`);
      assert.deepEqual([end.worker, end.nodes], [start.worker, start.nodes]);
      kept.push(end.page - start.page);
      start = end;
    }
    assert.ok(kept.at(-1) < 20 * 4096, `${kept.join(', ')} bytes more on the page after each 20 rounds`);
  });

  test('nothing was written to the console, no task was long', async () => {
    assert.deepEqual(messages, []);
    assert.deepEqual(await longTasks.found(), []);
    // A task that is long would have been seen, even one that got little of the processor.
    await page.evaluate(() => {
      setTimeout(() => {
        const end = performance.now() + 2000;
        while (performance.now() < end);
      });
    });
    await page.waitForFunction(() => window.longTasks.some(({ duration }) => duration >= 2000));
    assert.equal((await longTasks.found()).length, 1);
  });

  test('tunes for this GPU on request, can be stopped, and goes on with what it has', async () => {
    await fill(page, { steps: 2 });
    await generate(page);
    const before = (await pixels(page)).split(',').map(Number);
    await page.click('#model-more summary');
    await page.focus('#tune');
    await page.keyboard.press('Enter');
    assert.equal(await focused(page), 'cancel', 'the focus is not lost');
    await page.waitForFunction(() => /^[1-9]\d* of \d+ kinds/.test(document.querySelector('#detail').textContent));
    await page.click('#cancel');
    await status(page, 'Cancelled');
    await page.reload();
    await status(page, 'Ready');
    await generate(page);
    const after = (await pixels(page)).split(',').map(Number);
    assert.ok(before.every((level, i) => Math.abs(level - after[i]) <= 1), 'the same image by other kernels');
    assert.deepEqual(messages, []);
  });
});
