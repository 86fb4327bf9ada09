/** What tests of the page start from where the package computes nothing (fake-package.js), so that they say when a load or an image ends. */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PATIENCE } from '../lib/browsers.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { folder as path } from '../lib/folder.mjs';
import { serve } from '../../server.mjs';

export const HASH = '#model=fashion&count=3&steps=10&guidance=3&seed=5';
export const EMOJI = 'emoji32.safetensors';
export const FASHION = 'fashion32.safetensors';

/** A server and a browser for the suite that calls it. Returns what is called as `test`; each test gets a page of its own. */
export function onFakePage() {
  let [copy, server, browser] = [];
  before(async () => {
    copy = mkdtempSync(join(tmpdir(), 'fake-'));
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
  return (name, work) =>
    test(name, async () => {
      const context = await browser.newContext({ serviceWorkers: 'block' });
      try {
        const page = await context.newPage();
        page.setDefaultTimeout(PATIENCE);
        const messages = [];
        page.on('pageerror', (error) => messages.push(error.message));
        await work(steer(page, server.url));
        assert.deepEqual(messages, []);
      } finally {
        await context.close();
      }
    });
}

/** The page, and what its tests do with it. */
function steer(page, url) {
  /** `start`: what is held, and what fails, from the beginning; see fake-package.js. */
  async function open(hash = HASH, start = {}) {
    await page.addInitScript((how) => (window.fakeStart = how), start);
    await page.goto(`${url}/${hash}`);
    await page.waitForFunction(() => !document.querySelector('main').inert);
  }
  const title = (wanted) => page.waitForFunction((text) => document.querySelector('#stage-title').textContent.startsWith(text), wanted);
  async function ready(hash = HASH) {
    await open(hash);
    await title('Ready');
  }
  const hold = (...names) => page.evaluate((all) => all.forEach((name) => fake.hold.add(name)), names);
  const waiting = (name) => page.waitForFunction((one) => fake.waiting.some((waits) => waits.name === one), name);
  return {
    page,
    url,
    open,
    /** Opens it, and waits for its model. */
    ready,
    /** Waits for a status. */
    title,
    hold,
    release: (name) => page.evaluate((one) => fake.release(one), name),
    waiting,
    /** Makes images, to the end. */
    async generate() {
      await page.click('#generate');
      await title('Done');
    },
    /** A run under way, whose first image waits. */
    async generating() {
      await ready();
      await hold('image');
      await page.click('#generate');
      await waiting('image');
    },
    /** Lets the image that waits be done, until the next one waits. */
    async nextImage() {
      await page.evaluate(() => fake.waiting.splice(0).forEach(({ resolve }) => resolve()));
      await waiting('image');
    },
    /** Picks one of the page's own models. */
    pick: (source) => page.check(`[value=${source}]`, { force: true }),
    /** Pastes a link. */
    paste: (hash) => page.evaluate((text) => (location.hash = text), hash),
    /** Reads something of the fake package. */
    ask: (read) => page.evaluate(`(${read})(window.fake)`),
    picked: () => page.evaluate(() => new FormData(document.querySelector('#model-form')).get('source')),
    edge: () => page.textContent('#current .edge'),
    forming: () => page.locator('.forming').count(),
    values: (...fields) => Promise.all(fields.map((id) => page.inputValue(`#${id}`))),
  };
}
