/** What can go wrong: each state is explained, and where the page can go on, it does. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PATIENCE } from '../lib/browsers.mjs';
import { QUICK, fill, generate, noticed, pixels, start, status } from './harness.mjs';

/** Drops a file on the page, as a file manager would. */
async function drop(page, name, text) {
  const data = await page.evaluateHandle(
    ([fileName, content]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([content], fileName));
      return transfer;
    },
    [name, text],
  );
  await page.dispatchEvent('body', 'dragover', { dataTransfer: data });
  assert.ok(await page.isVisible('#drop'), 'the page says that it takes the file');
  await page.dispatchEvent('body', 'drop', { dataTransfer: data });
  assert.ok(await page.isHidden('#drop'));
}

describe('states of one page', () => {
  let [site, page, messages] = [];
  let first = '';
  before(async () => {
    site = await start({ fail: 'out-of-memory' });
    ({ page, messages } = await site.open());
  });
  after(() => site?.close());

  test('a full memory is explained, and less can be asked for', async () => {
    assert.match(await noticed(page), /Not enough memory on the GPU/);
    site.repair();
    await page.workers()[0].evaluate(() => (self.hook.fail = null));
    await page.click('#notice button');
    assert.equal(await page.inputValue('#precision'), 'f16-weights');
    await status(page, 'Ready');
    assert.equal(await page.inputValue('#steps'), '4', 'the link’s settings stay');
    await page.evaluate(() => {
      location.hash = '#settings';
      return new Promise((resolve) => addEventListener('hashchange', () => resolve(), { once: true }));
    });
    assert.equal(await page.inputValue('#steps'), '4', 'a place on the page is no link with settings');
    await generate(page);
    first = await pixels(page);
  });

  test('a corrupt file is explained, and the model before it stays in use', async () => {
    await drop(page, 'corrupt.safetensors', 'not a model at all');
    assert.match(await noticed(page), /This file cannot be used.*corrupt\.safetensors/s);
    assert.match(await page.textContent('#model-state'), /Fashion stays in use/);
    await page.focus('#notice button:last-of-type');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'generate', 'the focus is not lost');
    await generate(page);
    assert.ok(await page.isHidden('#notice'));
    assert.equal(await pixels(page), first);
  });

  test('a device that is lost in a run is explained, the images stay, and Restart goes on', async () => {
    await fill(page, { count: 2, steps: 100 });
    await page.click('#generate');
    await page.waitForFunction(() => /Images 2 to 2/.test(document.querySelector('#detail').textContent));
    await page.workers()[0].evaluate(() => self.hook.devices.at(-1).destroy());
    assert.match(await noticed(page), /The GPU stopped/);
    assert.equal(await page.locator('#sheets button.frame:enabled').count(), 2, 'the images of both runs are kept');
    assert.equal(await page.locator('#current button.frame:enabled').count(), 1, 'and what this one had finished');
    assert.match(await page.textContent('#current .edge'), /Stopped: 1 of 2 finished/);
    await page.click('#notice button');
    await status(page, 'Ready');
    assert.equal(page.workers().length, 1, 'no worker is left behind');
    await fill(page, { count: 1, steps: 4 });
    await generate(page);
    assert.equal(await pixels(page), first);
    assert.deepEqual(messages, []);
  });
});

describe('a page that loses the network', () => {
  let [site, page] = [];
  before(async () => {
    site = await start();
    ({ page } = await site.open());
  });
  after(() => site?.close());

  test('without a network, the page opens from what the browser keeps', async () => {
    await status(page, 'Ready');
    await generate(page);
    const first = await pixels(page);
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
    await site.server.close();
    await page.reload();
    await status(page, 'Ready');
    await generate(page);
    assert.equal(await pixels(page), first);
  });

  test('what is stored can be seen and deleted; then only the network helps', async () => {
    await page.click('#stored-open');
    const rows = page.locator('#stored-list strong');
    await rows.first().waitFor();
    assert.deepEqual((await rows.allTextContents()).sort(), ['fashion32-classifier.safetensors', 'fashion32.safetensors']);
    for (let left = 1; left >= 0; left--) {
      await page.locator('#stored-list button').first().click();
      await page.waitForFunction((n) => document.querySelectorAll('#stored-list button').length === n, left);
      assert.equal(await page.evaluate(() => document.activeElement.tagName), 'BUTTON', 'the focus is not lost');
    }
    await page.reload();
    assert.match(await noticed(page), /could not be fetched|You are offline/);
  });
});

describe('states of other browsers', () => {
  test('one without WebGPU names the ones that have it', async () => {
    const site = await start();
    try {
      const page = await site.openWithout();
      assert.match(await noticed(page), /This browser has no WebGPU.*Chrome and Edge.*Safari.*Firefox/s);
      assert.ok(await page.isHidden('#generate'), 'nothing can be pressed that would not work');
      await page.waitForSelector('#recorded canvas');
      assert.equal(await page.locator('#recorded canvas').count(), 12, 'but a recorded run plays');
      // Chromium has none at an address that is not secure.
      const insecure = await site.openInsecure();
      assert.match(await noticed(insecure), /needs a secure address.*https/s);
      await insecure.waitForSelector('#recorded canvas');
      assert.equal(await insecure.locator('#recorded canvas').count(), 12);
    } finally {
      await site.close();
    }
  });

  test('a new build is kept as a whole: it opens without a network', async () => {
    const site = await start({ fail: 'no-adapter' });
    try {
      const { page } = await site.open();
      await page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
      site.rebuild();
      await page.reload();
      // In steps: waitForFunction takes a promise for true.
      const renewed = async () => (await caches.keys()).length === 1 && (await caches.match('added.js')) !== undefined;
      const end = performance.now() + PATIENCE;
      while (!(await page.evaluate(renewed)) && performance.now() < end) await page.waitForTimeout(200);
      await site.server.close();
      await page.reload();
      await page.waitForFunction(() => window.added === true && !document.querySelector('main').inert);
    } finally {
      await site.close();
    }
  });

  test('one without an adapter says so, and may try again; the page can be installed', async () => {
    const site = await start({ fail: 'no-adapter' });
    try {
      const { context, page } = await site.open();
      const session = await context.newCDPSession(page);
      const { errors, data } = await session.send('Page.getAppManifest');
      assert.deepEqual([errors, JSON.parse(data).display], [[], 'standalone']);
      const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
      // A test's page is like one of a private window.
      assert.deepEqual(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== 'in-incognito'), []);
      assert.match(await noticed(page), /No GPU that this browser may use/);
      await page.click('#notice button');
      assert.match(await noticed(page), /No GPU that this browser may use/);
    } finally {
      await site.close();
    }
  });

  test('no room for the very first check of a kernel is a full memory too', async () => {
    const site = await start({ fail: 'no-memory' });
    try {
      const { page } = await site.open();
      assert.match(await noticed(page), /Not enough memory on the GPU.*noise: activations: no room is left/s);
    } finally {
      await site.close();
    }
  });

  test('a kernel whose compiler breaks down is named', async () => {
    const site = await start({ fail: 'internal' });
    try {
      const { page } = await site.open();
      assert.match(await noticed(page), /shader \S+.*the compiler broke down/s);
    } finally {
      await site.close();
    }
  });

  test('a link to a model from elsewhere fetches nothing by itself', async () => {
    const site = await start();
    try {
      const model = `${site.address}models/fashion32.safetensors`;
      const { page } = await site.open({ hash: `#count=1&steps=4&model=${encodeURIComponent(model)}` });
      await status(page, 'Another model');
      await page.click('#generate');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'load');
      const fetched = () => site.server.requests.filter(({ path }) => path.endsWith('.safetensors')).map(({ path }) => path);
      assert.deepEqual(fetched(), []);
      await page.click('#load');
      await status(page, 'Preparing');
      const names = new Set(fetched().map((path) => path.split('/').pop()));
      assert.deepEqual([...names], ['fashion32.safetensors'], 'and then that model alone');
    } finally {
      await site.close();
    }
  });
});
