/**
 * What the tests of the page start from: the built page in Chromium, its fields, and everything it must not do.
 *
 * A software driver compiles the kernels for many seconds, so tests that can share a page do, one after the other.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adapterOf } from '../lib/adapter.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { serve } from '../lib/server.mjs';
import { watchLongTasks } from './longtasks.mjs';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));
const WORKER = 'guided-diffusion/worker/worker.js';

/** A host may serve the page from any folder. */
const FOLDER = '/some/where/';

/** One image in few steps: software drivers are slow. */
export const QUICK = '#label=9&count=1&steps=4&guidance=2&seed=7';

/** The page as it is built, but for a worker that a test can look into (worker-hook.js). `fail`: see there. */
function hooked(fail) {
  const copy = mkdtempSync(join(tmpdir(), 'page-'));
  cpSync(DIST, copy, { recursive: true });
  const hook = readFileSync(new URL('worker-hook.js', import.meta.url), 'utf8');
  const worker = readFileSync(join(DIST, WORKER), 'utf8');
  writeFileSync(join(copy, WORKER), `${hook}\nself.hook.fail = ${JSON.stringify(fail)};\n${worker}`);
  return copy;
}

/** A browser and a server of the page, which `close` ends. `launch`: launchChromium's options. */
export async function start({ launch, fail = null } = {}) {
  const folder = hooked(fail);
  const server = await serve({ [FOLDER]: folder });
  const browser = await launchChromium(launch);
  const address = server.url + FOLDER;

  /** A page in a context of its own. `hash`: the settings of the link. `adapter`: whether there must be one. */
  async function open({ hash = QUICK, colorScheme = 'light', adapter = true } = {}) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 1280, height: 860 } });
    const page = await context.newPage();
    const messages = listen(page);
    await page.addInitScript(observeShifts);
    const longTasks = await watchLongTasks(browser, page);
    await page.goto(address + hash);
    if (adapter) await adapterOf(page);
    return { context, page, messages, longTasks };
  }

  async function close() {
    await browser.close();
    await server.close();
    rmSync(folder, { recursive: true });
  }
  return { server, address, open, close };
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

/** Waits for a status: `Ready`, `Done`, `Cancelled`, `Step`. Compiling takes a software driver long. */
export async function status(page, wanted, timeout = 180_000) {
  const begins = (text) => document.querySelector('#stage-title').textContent.startsWith(text);
  try {
    await page.waitForFunction(begins, wanted, { timeout });
  } catch {
    const parts = ['#stage-title', '#detail', '#notice'];
    const shown = await page.evaluate((ids) => ids.map((id) => document.querySelector(id).textContent), parts);
    assert.fail(`the page did not come to “${wanted}” in ${timeout} ms, but shows: ${shown.join(' | ')}`);
  }
}

/** Waits for an error that is shown, and gives its text. */
export async function noticed(page) {
  await page.waitForSelector('#notice h3', { timeout: 60_000 });
  return page.textContent('#notice');
}

/** The pixels of a frame on the stage. */
export function pixels(page, frame = 0) {
  return page.evaluate((at) => {
    const canvas = document.querySelectorAll('#current canvas')[at];
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join();
  }, frame);
}

/** Presses Generate and waits for the images. */
export async function generate(page) {
  await page.click('#generate');
  await status(page, 'S'); // Starting or Step: not the Done of the run before
  await status(page, 'Done');
}

/** Fills fields by their id. */
export async function fill(page, values) {
  for (const [id, value] of Object.entries(values)) await page.fill(`#${id}`, String(value));
}
