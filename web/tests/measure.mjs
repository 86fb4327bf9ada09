/**
 * Prints the table of docs/performance.md about the page's first image in Chromium on SwiftShader, after `make web-build`: by what
 * the page opens with, and by fashion32 in 25 guided steps. Medians of three runs in turn, each in a browser of its own.
 *
 *     node web/tests/measure.mjs
 */
import { readFileSync, statSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { folder } from './lib/folder.mjs';
import { counts, start, status } from './page/harness.mjs';

const ROUNDS = 3;
const LINKS = {
  'emoji32, as the page opens': '#model=emoji&count=1&seed=7',
  'fashion32, 25 steps, guided': '#model=fashion&label=9&count=1&steps=25&guidance=2&seed=7',
};
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);

/** The first image of a new visitor who presses Generate at once. */
async function measure(hash) {
  const site = await start({ trained: true });
  try {
    const began = performance.now();
    const since = () => performance.now() - began;
    const { page } = await site.open({ hash });
    await status(page, 'Ready');
    const ready = since();
    await page.click('#generate');
    await status(page, 'Step');
    const [step, title] = [since(), await page.textContent('#stage-title')];
    await status(page, 'Done');
    const image = since();
    const models = new Set(site.server.requests.flatMap(({ path }) => /models\/[^/]+\.safetensors$/.exec(path)?.[0] ?? []));
    const bytes = [...models].reduce((sum, file) => sum + statSync(folder(`web/dist/${file}`)).size, 0);
    return { steps: Number(/of (\d+)$/.exec(title)?.[1]), bytes, ready, step, image, made: image - ready, ...(await counts(page)) };
  } finally {
    await site.close();
  }
}

const runs = Object.fromEntries(Object.keys(LINKS).map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++) for (const [name, hash] of Object.entries(LINKS)) runs[name].push(await measure(hash));

const median = (name, what) => runs[name].map((run) => run[what]).sort((a, b) => a - b)[(ROUNDS - 1) / 2];
const wasm = readFileSync(folder('web/dist/guided-diffusion/wasm/guided_diffusion_web_bg.wasm'));
row('what', ...Object.keys(runs));
row('---', ...Object.keys(runs).map(() => '---'));
for (const [title, what, format] of [
  ['steps', 'steps', String],
  ['models loaded', 'bytes', megabytes],
  ['page load to a model that is ready', 'ready', seconds],
  ['page load to the first step', 'step', seconds],
  ['page load to the image', 'image', seconds],
  ['the image itself', 'made', seconds],
  ['wasm heap, peak', 'wasm', megabytes],
  ['GPU buffers, float16 weights', 'gpuBytes', megabytes],
]) {
  row(title, ...Object.keys(runs).map((name) => format(median(name, what))));
}
console.log(`\nwasm: ${Math.round(wasm.length / 1e3)} KB, ${Math.round(gzipSync(wasm, { level: 9 }).length / 1e3)} KB gzipped`);
