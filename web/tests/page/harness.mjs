/**
 * What the tests of the page start from: the built page in Chromium, its fields, and everything it must not do.
 *
 * A software driver compiles the kernels for many seconds, so tests that can share a page do, one after the other.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adapterOf } from '../lib/adapter.mjs';
import { PATIENCE } from '../lib/browsers.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { launchFirefox } from '../lib/firefox.mjs';
import { serve } from '../../server.mjs';
import { violations } from './axe.mjs';
import { watchLongTasks } from './longtasks.mjs';

const PRECACHE = fileURLToPath(new URL('../../precache.mjs', import.meta.url));
const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const WORKER = 'guided-diffusion/worker/worker.js';

const INSECURE = 'insecure.test';

/** A host may serve the page from any folder. */
const FOLDER = '/some/where/';

/** Where tiny models are on the same server. */
export const TINY = '/tiny/';
const MODELS = fileURLToPath(new URL('../../../target/tiny-models', import.meta.url));

const FASHION = ['fashion32.safetensors', 'fashion32-classifier.safetensors'];

/** One image in few steps: software drivers are slow. */
export const QUICK = '#model=fashion&label=9&count=1&steps=4&guidance=2&seed=7';

/** Puts worker-hook.js before the worker in a copy of the page. `fail`: see there. */
function hook(folder, fail) {
  const before = readFileSync(new URL('worker-hook.js', import.meta.url), 'utf8');
  const worker = readFileSync(join(DIST, WORKER), 'utf8');
  writeFileSync(join(folder, WORKER), `${before}\nself.hook.fail = ${JSON.stringify(fail)};\n${worker}`);
}

/**
 * A browser and a server of the page with a worker that a test can look into. `fail`: see worker-hook.js. Unless `trained`, tiny
 * networks pass for the fashion model and its classifier: what the page does is the same, and a software driver does it sooner.
 */
export async function start({ fail = null, trained = false } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'page-'));
  cpSync(DIST, folder, { recursive: true });
  if (!trained) for (const name of FASHION) cpSync(join(MODELS, name), join(folder, 'models', name));
  hook(folder, fail);
  const server = await serve({ [FOLDER]: folder, [TINY]: MODELS });
  // A name that is neither https nor this machine's: no secure address.
  const browser = await launchChromium({ args: [`--host-resolver-rules=MAP ${INSECURE} 127.0.0.1`] }).catch(async (error) => {
    // A server that nobody closes would keep the test run alive.
    await server.close();
    rmSync(folder, { recursive: true });
    throw error;
  });
  const address = server.url + FOLDER;
  const others = [];

  /** A page in a context of its own. `hash`: the settings of the link. */
  async function open({ hash = QUICK, colorScheme = 'light' } = {}) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 860 } });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const messages = listen(page);
    await page.addInitScript(observeShifts);
    const longTasks = await watchLongTasks(browser, page);
    await page.goto(address + hash);
    await adapterOf(page);
    return { context, page, messages, longTasks };
  }

  /** A page at an address that is not secure, to which browsers do not offer WebGPU. */
  async function openInsecure() {
    const page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(address.replace('127.0.0.1', INSECURE));
    return page;
  }

  /** A page in Firefox, whose preferences may switch WebGPU off: Chromium has no switch for that any more. */
  async function openFirefox({ colorScheme = 'light', hash = '', preferences = {} } = {}) {
    const firefox = await launchFirefox({
      preferences: { 'layout.css.prefers-color-scheme.content-override': colorScheme === 'dark' ? 0 : 1, ...preferences },
    });
    others.push(firefox);
    const page = await firefox.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(address + hash);
    return page;
  }

  const openWithout = (how = {}) => openFirefox({ ...how, preferences: { 'dom.webgpu.enabled': false } });

  async function close() {
    for (const one of [browser, ...others]) await one.close();
    await server.close();
    rmSync(folder, { recursive: true });
  }
  return {
    server,
    address,
    open,
    openInsecure,
    openFirefox,
    openWithout,
    close,
    /** Another build of the page: its main module imports one that was not there before. */
    rebuild() {
      const main = join(folder, 'main.js');
      writeFileSync(join(folder, 'added.js'), 'window.added = true;\n');
      writeFileSync(main, `import './added.js';\n${readFileSync(main, 'utf8')}`);
      execFileSync(process.execPath, [PRECACHE, folder]);
    },
    /** Workers that start from now on do not fail. */
    repair: () => hook(folder, null),
  };
}

/** Collects what the console shows as wrong. */
function listen(page) {
  const messages = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) messages.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => messages.push(`uncaught: ${error.stack}`));
  return messages;
}

/** Runs in the page: collects what moves without the visitor's doing. */
function observeShifts() {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) {
      const what = sources.map(({ node }) => node?.id || node?.className || node?.nodeName).join();
      if (!hadRecentInput) window.shifts.push({ value, what });
    }
  }).observe({ type: 'layout-shift', buffered: true });
}

/** What the page's worker has on the GPU and of wasm memory, by worker-hook.js. */
export function counts(page) {
  return page.evaluate(
    () =>
      new Promise((resolve) => {
        const channel = new BroadcastChannel('hook');
        channel.onmessage = ({ data }) => {
          channel.close();
          resolve(data);
        };
        channel.postMessage('counts');
      }),
  );
}

/** Waits for a status: `Ready`, `Done`, `Cancelled`, `Step`. */
export async function status(page, wanted) {
  const begins = (text) => document.querySelector('#stage-title').textContent.startsWith(text);
  try {
    await page.waitForFunction(begins, wanted);
  } catch {
    const parts = ['#stage-title', '#detail', '#notice'];
    const shown = await page.evaluate((ids) => ids.map((id) => document.querySelector(id).textContent), parts);
    assert.fail(`the page did not come to “${wanted}” in ${PATIENCE} ms, but shows: ${shown.join(' | ')}`);
  }
}

/** Waits for an error that is shown, which axe must find nothing wrong with, and gives its text. */
export async function noticed(page) {
  await page.waitForSelector('#notice h3');
  assert.deepEqual(await violations(page), []);
  return page.textContent('#notice');
}

/** The pixels of a frame on the stage. */
export function pixels(page, frame = 0) {
  return page.evaluate((at) => {
    const canvas = document.querySelectorAll('#current canvas')[at];
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join();
  }, frame);
}

/** Presses Generate, or another button that makes images, and waits for them. */
export async function generate(page, button = '#generate') {
  // A short run is over before anybody looks: the titles it had are written down.
  await page.evaluate(() => {
    const title = document.querySelector('#stage-title');
    window.titles = [];
    new MutationObserver(() => window.titles.push(title.textContent)).observe(title, { childList: true });
  });
  await page.click(button);
  await page.waitForFunction(() => window.titles.some((text) => !text.startsWith('Done')));
  await status(page, 'Done');
}

/** Fills fields by their id. */
export async function fill(page, values) {
  for (const [id, value] of Object.entries(values)) await page.fill(`#${id}`, String(value));
}

/** Moves the slider of a setting, through these values in turn. `#scrub` is one, too. */
export function slide(page, name, ...values) {
  return page.evaluate(
    ([one, all]) => {
      const slider = document.querySelector(one === 'scrub' ? '#scrub' : `[data-for=${one}]`);
      for (const value of all) {
        slider.value = String(value);
        slider.dispatchEvent(new Event('input', { bubbles: true }));
      }
      slider.dispatchEvent(new Event('change', { bubbles: true }));
    },
    [name, values],
  );
}

/** Drops a white picture of 40x30 pixels on the page, and waits until the drawing board shows it. */
export async function dropWhite(page) {
  await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(40, 30);
    const context = canvas.getContext('2d');
    context.fillStyle = '#fff';
    context.fillRect(0, 0, 40, 30);
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([await canvas.convertToBlob()], 'white.png', { type: 'image/png' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
  });
  await page.waitForFunction(() => document.querySelector('#board').getContext('2d').getImageData(128, 128, 1, 1).data[0] === 255);
}
