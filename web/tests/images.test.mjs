/**
 * Images end to end, in both engines: the package as it is shipped loads fashion32 from a URL and samples, and
 * what the program makes natively from the same seed is at most one level of 255 apart.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { natively } from './lib/natively.mjs';
import { openSite } from './lib/site.mjs';

const MODEL = 'fashion32.safetensors';
const CLASSIFIER = 'fashion32-classifier.safetensors';
const CLASSES = [3, 8];

/** Both samplers; every draw of the ancestral one is made on the GPU. */
const RUNS = {
  'DDIM, 5 steps': { sampler: 'ddim', steps: 'ddim5', seed: 11 },
  'ancestral, 10 steps, guided': { sampler: 'ancestral', steps: '10', seed: 12, guidance: 2 },
};

/** The program's arguments for a run. */
function argumentsOf({ sampler, steps, seed, guidance }) {
  const guide = ['--classifier_path', folder(`models/${CLASSIFIER}`), '--classifier_scale', String(guidance)];
  const run = ['--sampler', sampler, '--steps', steps, '--seed', String(seed), ...(guidance ? guide : [])];
  const what = ['--class', CLASSES.join(), '--count', String(CLASSES.length), '--batch', String(CLASSES.length)];
  return ['--model', folder(`models/${MODEL}`), ...what, ...run];
}

const programs = new Map();

/** The program's images of a run, made once for both browsers. */
function byProgram(what, options) {
  if (!programs.has(what)) programs.set(what, natively(argumentsOf(options)));
  return programs.get(what);
}

/** Runs in the page: the images' values one after the other, and what the canvas would show. All runs share what is compiled. */
async function inBrowser([model, classifier, classes, { guidance, ...options }]) {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  window.engine ??= await GuidedDiffusion.create();
  const loaded = await window.engine.load(`/models/${model}`, {
    batch: classes.length,
    ...(guidance && { classifier: `/models/${classifier}` }),
  });
  const run = loaded.sample({ ...options, classes, count: classes.length, ...(guidance && { guidance }) });
  let steps = 0;
  for await (const step of run) steps = step.step;
  const images = await run.result;
  return {
    steps,
    warnings: loaded.info.warnings,
    labels: images.map((image) => image.label),
    values: images.flatMap((image) => [...image.values]),
    red: images.flatMap((image) => [...image.toImageData().data].filter((_, i) => i % 4 === 0)),
  };
}

describe('images', { concurrency: true }, () => {
  for (const { name, launch } of browsers()) {
    describe(name, { concurrency: false }, () => {
      let site;
      before(async () => {
        site = await openSite(launch, { '/models/': folder('models') });
      });
      after(() => site?.close());

      for (const [what, options] of Object.entries(RUNS)) {
        test(`${what}: the program's images`, async () => {
          const expected = await byProgram(what, options);
          const made = await site.page.evaluate(inBrowser, [MODEL, CLASSIFIER, CLASSES, options]);
          assert.deepEqual(made.warnings, []);
          assert.deepEqual(made.labels, CLASSES);
          assert.equal(made.steps, Number(/\d+/.exec(options.steps)[0]));
          assert.equal(made.values.length, expected.length);
          const levels = (value) => (value + 1) * 127.5;
          const apart = made.values.map((value, i) => Math.abs(levels(value) - levels(expected[i])));
          const largest = Math.max(...apart);
          console.log(`${name}: ${what}: at most ${largest.toFixed(4)} of 255 levels apart`);
          assert.ok(largest <= 1, `${largest} of 255 levels apart`);
          // What is shown is what was made, and it is a picture: garments on black.
          const shown = made.values.map((value) => Math.min(255, Math.max(0, levels(value))));
          assert.ok(made.red.every((level, i) => Math.abs(level - shown[i]) <= 1), 'pixels show other values');
          assert.ok(made.red.filter((level) => level < 16).length > made.red.length / 10, 'no background');
          assert.ok(made.red.filter((level) => level > 64).length > made.red.length / 10, 'no garment');
        });
      }
      test('nothing is written to the console', () => assert.deepEqual(site.messages, []));
    });
  }
});
