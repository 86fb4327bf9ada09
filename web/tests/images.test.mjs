/**
 * Images end to end, in both engines: the package as it is shipped loads the built-in model from a URL and samples, and
 * what the program makes natively from the same seed on the same driver is at most one level of 255 apart.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { serve } from '../server.mjs';

const MODEL = 'fashion32.safetensors';
const CLASSIFIER = 'fashion32-classifier.safetensors';
const CLASSES = [3, 8];

/** Both samplers; every draw of the ancestral one is made on the GPU. */
const RUNS = {
  'DDIM, 25 steps': { sampler: 'ddim', steps: 'ddim25', seed: 11 },
  'ancestral, 10 steps, guided': { sampler: 'ancestral', steps: '10', seed: 12, guidance: 2 },
};

/** The values of an .npy file that the program wrote: float32 in [-1, 1]. */
function values(path) {
  const file = readFileSync(path);
  const start = 10 + file.readUInt16LE(8);
  return Array.from({ length: (file.length - start) / 4 }, (_, i) => file.readFloatLE(start + 4 * i));
}

async function natively({ adapter, driver }, { sampler, steps, seed, guidance }) {
  const out = mkdtempSync(join(tmpdir(), 'images-'));
  try {
    const path = join(out, 'images.npy');
    const guide = ['--classifier_path', folder(`models/${CLASSIFIER}`), '--classifier_scale', String(guidance)];
    const run = ['--sampler', sampler, '--steps', steps, '--seed', String(seed), ...(guidance ? guide : [])];
    const what = ['--class', CLASSES.join(), '--count', String(CLASSES.length), '--batch', String(CLASSES.length)];
    const model = ['--model', folder(`models/${MODEL}`), '--adapter', adapter];
    const program = folder('target/release/guided-diffusion');
    // The loader's variable has a new name; old loaders know the old one.
    const env = { ...process.env, VK_DRIVER_FILES: driver(), VK_ICD_FILENAMES: driver(), NODEVICE_SELECT: '1' };
    await promisify(execFile)(program, ['sample', ...model, ...what, ...run, '--out', path], { env });
    return values(path);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** Runs in the page: the images' values one after the other, and what the canvas would show. */
async function inBrowser([model, classifier, classes, { guidance, ...options }]) {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  const engine = await GuidedDiffusion.create();
  try {
    const loaded = await engine.load(`/models/${model}`, {
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
  } finally {
    engine.dispose();
  }
}

describe('images', { concurrency: true }, () => {
  for (const under of browsers()) {
    const { name, launch } = under;
    describe(name, { concurrency: false }, () => {
      let [server, browser, page] = [];
      const messages = [];
      before(async () => {
        server = await serve({
          '/': folder('web/conformance/page'),
          '/guided-diffusion/': folder('web/package/dist'),
          '/models/': folder('models'),
        });
        browser = await launch();
        page = await browser.newPage();
        page.on('console', (message) => messages.push(`${message.type()}: ${message.text()}`));
        page.on('pageerror', (error) => messages.push(`uncaught: ${error.message}`));
        await page.goto(`${server.url}/`);
      });
      after(async () => {
        await browser?.close();
        await server?.close();
      });

      for (const [what, options] of Object.entries(RUNS)) {
        test(`${what}: the program's images`, async () => {
          const expected = await natively(under, options);
          const made = await page.evaluate(inBrowser, [MODEL, CLASSIFIER, CLASSES, options]);
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
      test('nothing is written to the console', () => assert.deepEqual(messages, []));
    });
  }
});
