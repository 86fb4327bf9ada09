/**
 * Prints the table of docs/performance.md about the page in Chromium on SwiftShader, after `make web-build`:
 *
 *     node web/tests/measure.mjs
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { counts, start, status } from './page/harness.mjs';

const WASM = fileURLToPath(new URL('../dist/guided-diffusion/wasm/guided_diffusion_web_bg.wasm', import.meta.url));
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const row = (what, value) => console.log(`| ${what} | ${value} |`);

const wasm = readFileSync(WASM);
row('what', 'value');
row('---', '---');
row('wasm', `${Math.round(wasm.length / 1e3)} KB, ${Math.round(gzipSync(wasm, { level: 9 }).length / 1e3)} KB gzipped`);

const site = await start();
try {
  const began = performance.now();
  const since = () => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  const { page } = await site.open({ hash: '#model=fashion&label=9&count=1&steps=25&guidance=2&seed=7' });
  await status(page, 'Ready');
  row('page load to a model that is ready', since());
  await page.click('#generate');
  await status(page, 'Step');
  row('page load to the first step', since());
  await status(page, 'Done');
  row('page load to the image (25 guided steps)', since());
  const { wasm: heap, gpuBytes } = await counts(page);
  row('wasm heap, peak', megabytes(heap));
  row('GPU buffers, guided, float16 weights', megabytes(gpuBytes));
} finally {
  await site.close();
}
