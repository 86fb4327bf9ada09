/**
 * How fast a run is in Chromium beside the program on the same driver, SwiftShader, after `make web-build` and
 * `cargo build --release`:
 *
 *     node web/tests/against-native.mjs [ROUNDS]     5 without an argument; the median of each counts
 *
 * Both make the same images by many steps and by few, in turn; the difference is the time of a step, without the time of
 * loading and compiling. Seconds are the clock's: run it on a machine that has nothing else to do.
 */
import { SWIFTSHADER, launchChromium } from './lib/chromium.mjs';
import { natively } from './lib/natively.mjs';
import { folder } from './lib/folder.mjs';
import { openSite } from './lib/site.mjs';

const ROUNDS = Number(process.argv[2] ?? 5);
const [FEW, MANY] = [5, 45];
const COUNT = 4;
const MODEL = 'fashion32.safetensors';

/** Runs in the page: milliseconds of a run of so many steps. */
async function inBrowser([model, count, steps]) {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  window.engine ??= await GuidedDiffusion.create();
  window.model ??= await window.engine.load(`/models/${model}`, { batch: count });
  const begin = performance.now();
  await window.model.sample({ sampler: 'euler', steps, seed: 1, count }).result;
  return performance.now() - begin;
}

const site = await openSite(launchChromium, { '/models/': folder('models') });
const times = { native: [], chromium: [] };
try {
  const browser = (steps) => site.page.evaluate(inBrowser, [MODEL, COUNT, steps]);
  const native = async (steps) => {
    const begin = performance.now();
    const what = ['--count', String(COUNT), '--batch', String(COUNT), '--sampler', 'euler', '--steps', String(steps), '--seed', '1'];
    await natively(['--model', folder(`models/${MODEL}`), ...what], SWIFTSHADER);
    return performance.now() - begin;
  };
  await browser(FEW);
  await native(FEW);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, time] of Object.entries({ native, chromium: browser })) {
      const few = await time(FEW);
      times[name].push((await time(MANY) - few) / (MANY - FEW));
    }
  }
} finally {
  await site.close();
}
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
for (const [name, all] of Object.entries(times)) console.log(`${name}: ${all.map((ms) => ms.toFixed(1)).join(', ')} ms per step of ${COUNT} images`);
console.log(`Chromium is ${(median(times.native) / median(times.chromium)).toFixed(2)} times as fast as the program`);
