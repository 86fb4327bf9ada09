// The package in a bundler: Vite finds the worker and the wasm file, and gives both names of their own.
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { serve } from '../server.mjs';
import { browsers } from './lib/browsers.mjs';

test('an application that Vite bundles has the worker and the wasm file, and runs', async (t) => {
  const outDir = await mkdtemp(join(tmpdir(), 'guided-diffusion-vite-'));
  t.after(() => rm(outDir, { recursive: true }));
  const root = fileURLToPath(new URL('./vite', import.meta.url));
  await build({ root, base: './', logLevel: 'error', build: { outDir, emptyOutDir: true } });
  const files = await readdir(join(outDir, 'assets'));
  const named = (pattern) => files.filter((file) => pattern.test(file));
  assert.equal(named(/^worker-.*\.js$/).length, 1, `one worker in ${files}`);
  assert.equal(named(/\.wasm$/).length, 1, `one wasm file in ${files}`);

  const server = await serve({ '/application/': outDir });
  t.after(() => server.close());
  const browser = await browsers()[0].launch();
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${server.url}/application/`);
  await page.waitForFunction(() => document.querySelector('output').value !== 'starting');
  assert.match(await page.evaluate(() => document.querySelector('output').value), /^adapter: /);
});
