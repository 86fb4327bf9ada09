/**
 * What the package does beside loading and one model's images, which files.test.mjs and images.test.mjs show: the two-stage
 * stack, tuning, and what a tarball of it holds, every sampler, edits. In both engines, with tiny models.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { natively, program } from './lib/natively.mjs';
import { openSite } from './lib/site.mjs';
import { Model, samplers } from '../package/dist/index.js';

const MODELS = folder('target/tiny-models');
const run = promisify(execFile);

/** Runs in the page: opens its engine, whose models share what is compiled. */
async function open() {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  window.engine = await GuidedDiffusion.create();
}

/** Runs in the page. */
async function stack() {
  const { sampleStack } = await import('/guided-diffusion/index.js');
  const small = await window.engine.load('/models/base.safetensors', { classifier: '/models/judge.safetensors', batch: 2 });
  const large = await window.engine.load('/models/up.safetensors', { batch: 2 });
  const made = sampleStack(small, large, {
    classes: [2, 5],
    steps: 'ddim5',
    guidance: 1,
    seed: 4,
    upsampler: { steps: 'ddim3', previewEvery: 1 },
  });
  const stages = [];
  for await (const { stage, step } of made) stages.push(`${stage}:${step}`);
  const images = await made.result;
  const bitmap = await images[0].toImageBitmap();
  return {
    stages,
    size: [bitmap.width, bitmap.height],
    type: (await images[0].toBlob()).type,
    labels: images.map(({ label }) => label),
    values: images.flatMap(({ values }) => [...values]),
  };
}

/** A variant that the driver has for convolutions with most work, and not as the usual one: SwiftShader's is for subgroups of 4. */
const UNUSUAL = {
  chromium: 'Gemm(GemmTile { rows: 8, columns4: 2, x: 4, y: 1, sharing: Subgroup, parts: 1 })',
  firefox: 'Gemm(GemmTile { rows: 1, columns4: 1, x: 64, y: 1, sharing: Nothing, parts: 1 })',
};

/**
 * Runs in the page: loads the model, tunes it where that is asked for, and samples. `stopAfter`: stops it by its signal once so many
 * kinds are measured. `alter`: rewrites the tuning cache first.
 */
async function tuned({ tune = null, stopAfter = Infinity, alter = null, forget = false }) {
  if (forget) await window.engine.deleteTuning();
  const root = await navigator.storage.getDirectory();
  const at = await root.getDirectoryHandle('guided-diffusion', { create: true });
  const caches = [];
  for await (const [name, handle] of at.entries()) {
    if (!name.endsWith('.tuning')) continue;
    const cache = JSON.parse(await (await handle.getFile()).text());
    caches.push(cache);
    if (!alter) continue;
    if (alter.variant) for (const key of Object.keys(cache.variants)) cache.variants[key] = alter.variant;
    if (alter.device) cache.device = alter.device;
    const writer = await handle.createWritable();
    await writer.write(alter.text ?? JSON.stringify(cache));
    await writer.close();
  }
  if (forget) return { caches };
  const model = await window.engine.load('/models/base.safetensors', { cache: false });
  const progress = [];
  const control = new AbortController();
  const onProgress = ({ done, total }) => {
    progress.push([done, total]);
    if (done >= stopAfter) control.abort();
  };
  const options = { ...tune, signal: control.signal, onProgress };
  const result = tune && (await model.tune(options).catch(({ name }) => name));
  const [image] = await model.sample({ classes: [1], steps: 'ddim5', seed: 3 }).result;
  return { result, progress, caches, tuned: model.info.tuned, warnings: model.info.warnings, values: [...image.values] };
}

/** Runs in the page: images of a seed, and of the noise that the seed means, given by the page. */
async function given() {
  const { seedNoise } = await import('/guided-diffusion/index.js');
  const model = await window.engine.load('/models/base.safetensors', { batch: 2 });
  const options = { classes: [1, 2, 3], count: 3, steps: 'ddim5' };
  const usual = await model.sample({ ...options, seed: 2n ** 40n + 3n }).result;
  const each = usual[0].values.length;
  const noise = new Float32Array(3 * each);
  for (let k = 0; k < 3; k++) noise.set(seedNoise(2n ** 40n + 3n, k, each), k * each);
  const made = await model.sample({ ...options, seed: 9, noise }).result;
  const [later] = await model.sample({ count: 1, firstIndex: 5, steps: 'ddim2' }).result;
  const refused = await model.sample({ ...options, noise: noise.subarray(1) }).result.catch(({ code }) => code);
  const values = (images) => images.flatMap((image) => [...image.values]);
  return { usual: values(usual), made: values(made), refused, label: later.label };
}

/** Runs in the page: an image by every sampler of the registry with the trajectory to it, by the process that the models have. */
async function everySampler() {
  const { samplers } = await import('/guided-diffusion/index.js');
  const made = [];
  for (const name of ['base', 'edm', 'consistency']) {
    const model = await window.engine.load(`/models/${name}.safetensors`);
    const { process } = model.info;
    for (const { name: sampler } of samplers.filter(({ kinds }) => kinds.includes(process))) {
      const few = sampler === 'onestep' ? {} : sampler === 'multistep' ? { steps: 40, at: [0, 20, 39] } : { steps: 5 };
      const run = model.sample({ count: 1, classes: model.info.classes ? [1] : [], sampler, ...few, seed: 3, previewEvery: 1 });
      const levels = [];
      for await (const { previews } of run) levels.push(previews[0].noiseLevel);
      const [{ values, parameters }] = await run.result;
      made.push({ what: `${process} ${sampler}`, said: parameters.sampler, values: [...values], levels });
    }
  }
  return made;
}

/** Runs in the page: a picture that is varied, mended by both editors, enlarged, and taken to its noise and back. */
async function pictures() {
  const model = await window.engine.load('/models/base.safetensors');
  const common = { count: 1, classes: [1], steps: 'ddim10', seed: 3 };
  const [init] = await model.sample({ ...common, sampler: 'ddim', seed: 8 }).result;
  const make = async (more) => (await model.sample({ ...common, ...more }).result)[0];
  const { width, height } = init;
  const data = new Uint8Array(width * height).fill(255, width * 2);
  const mask = { width, height, data };
  const edits = { ddnm: { steps: '10' }, repaint: { steps: '10', jumpLength: 2, jumpRepeats: 2 } };
  const kept = {};
  for (const [sampler, more] of Object.entries(edits)) kept[sampler] = [...(await make({ sampler, init, mask, ...more })).toImageData().data];
  const small = new ImageData(width / 2, height / 2);
  small.data.fill(255);
  const found = {
    width,
    init: [...init.toImageData().data],
    kept,
    weak: [...(await make({ sampler: 'ddim', init, strength: 0.2 })).values],
    strong: [...(await make({ sampler: 'ddim', init, strength: 0.9 })).values],
    upscaled: (await make({ init: small, edit: { upscale: 2 }, steps: '10' })).width,
    values: [...init.values],
  };
  const noise = (await make({ sampler: 'invert', init, steps: 'ddim50' })).values;
  found.back = [...(await make({ sampler: 'ddim', steps: 'ddim50', noise })).values];
  return found;
}

/** Runs in the page: images between those of two seeds. */
async function between() {
  const { interpolateNoise, seedNoise } = await import('/guided-diffusion/index.js');
  const model = await window.engine.load('/models/base.safetensors', { batch: 2 });
  const { width, height, channels } = model.info;
  const each = width * height * channels;
  const [from, to] = [3n, 4n].map((seed) => seedNoise(seed, 0, each));
  const noise = new Float32Array(3 * each);
  [0, 0.5, 1].forEach((share, k) => noise.set(interpolateNoise(from, to, share), k * each));
  const made = await model.sample({ classes: [1], count: 3, steps: 'ddim5', sampler: 'ddim', noise }).result;
  return made.flatMap(({ values }) => [...values]);
}

/** Runs in the page: bits per dimension of an image, and its PNG; and what a stopped measurement says. */
async function measured() {
  const model = await window.engine.load('/models/base.safetensors');
  const [image] = await model.sample({ classes: [1], count: 1, steps: 'ddim10', sampler: 'ddim', seed: 8 }).result;
  const steps = [];
  const bits = await model.bitsPerDimension(image, { steps: 10, seed: 5, onStep: (...step) => steps.push(step.join(' of ')) });
  const stop = new AbortController();
  const stopped = model.bitsPerDimension(image, { signal: stop.signal, onStep: () => stop.abort() }).catch(({ name }) => name);
  const refused = model.bitsPerDimension(new ImageData(3, 3), { class: 1 }).catch(({ code }) => code);
  const errors = [await stopped, await refused];
  const png = [...new Uint8Array(await (await image.toBlob()).arrayBuffer())];
  return { bits, steps, errors, png };
}

/** Runs in the page: an image by a number of steps, and by the same steps named. */
async function counted() {
  const model = await window.engine.load('/models/base.safetensors');
  const made = [];
  for (const steps of [5, 'ddim5']) made.push(...(await model.sample({ classes: [1], sampler: 'ddim', steps, seed: 3 }).result));
  return { process: model.info.process, values: made.map(({ values }) => [...values]) };
}

/** The steps that the core is asked for by a model of a process. */
function stepsOf(process, options) {
  const asked = [];
  const call = async (_name, take) => asked.push(take.options.settings.steps);
  new Model({ call }, 0, { process, diffusionSteps: 1000 }).sample(options);
  return asked[0];
}

/** The largest difference in levels of 255. */
function apart(a, b) {
  assert.equal(a.length, b.length);
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]) * 127.5));
}

test('a number of steps lies at a fixed stride only for ddim', () => {
  assert.equal(stepsOf('discrete', { steps: 30 }), '30');
  assert.equal(stepsOf('discrete', { steps: 30, sampler: 'ddim' }), 'ddim30');
  assert.equal(stepsOf('discrete', { steps: 30, sampler: 'ancestral' }), '30');
  for (const process of ['edm', 'consistency']) assert.equal(stepsOf(process, { steps: 20 }), '20');
});

describe('package', { concurrency: true }, () => {
  for (const { id, name, launch } of browsers()) {
    describe(name, { concurrency: false }, () => {
      let site;
      before(async () => {
        site = await openSite(launch, { '/models/': MODELS });
        await site.page.evaluate(open);
      });
      after(() => site?.close());

      test('the stack makes what its command makes', async () => {
        const of = (name) => join(MODELS, `${name}.safetensors`);
        const expected = await natively([
          ...['--model', of('base'), '--classifier', of('judge'), '--guidance', '1', '--upsampler', of('up')],
          ...['--class', '2,5', '--count', '2', '--batch', '2', '--steps', 'ddim5', '--upsampler-steps', 'ddim3', '--seed', '4'],
        ]);
        const made = await site.page.evaluate(stack);
        assert.deepEqual(made.stages, ['0:1', '0:2', '0:3', '0:4', '0:5', '1:1', '1:2', '1:3']);
        assert.deepEqual([made.size, made.labels, made.type], [[16, 16], [2, 5], 'image/png']);
        const largest = apart(made.values, expected);
        console.log(`${name}: stack: at most ${largest.toFixed(4)} of 255 levels apart`);
        assert.ok(largest <= 1, `${largest} of 255 levels apart`);
      });

      test('a number of steps is at the stride of ddim', async () => {
        const { process, values } = await site.page.evaluate(counted);
        assert.equal(process, 'discrete');
        assert.deepEqual(values[0], values[1]);
      });

      test('every sampler of the registry samples from its processes, with the trajectory', async () => {
        const made = await site.page.evaluate(everySampler);
        const expected = [['discrete', 'base'], ['edm', 'edm'], ['consistency', 'consistency']].flatMap(([process]) =>
          samplers.filter(({ kinds }) => kinds.includes(process)).map(({ name }) => `${process} ${name}`),
        );
        assert.deepEqual(made.map(({ what }) => what), expected);
        for (const { what, said, values, levels } of made) {
          assert.ok(what.endsWith(` ${said}`), `${what}: the image says ${said}`);
          assert.ok(values.every((value) => Math.abs(value) <= 1.001) && new Set(values).size > 10, what);
          assert.ok(levels.length >= 1 && levels.every((level, k) => level > 0 && (k === 0 || level <= levels[k - 1])), `${what}: noise levels ${levels}`);
        }
        const pictures = new Set(made.filter(({ what }) => what.startsWith('discrete')).map(({ values }) => values.join()));
        assert.equal(pictures.size, expected.filter((what) => what.startsWith('discrete')).length, 'each makes another image');
      });

      test('a picture is varied, mended, enlarged, and taken to its noise and back', async () => {
        const { width, init, kept, weak, strong, upscaled, values, back } = await site.page.evaluate(pictures);
        for (const [sampler, pixels] of Object.entries(kept)) {
          const from = width * 2 * 4;
          assert.ok(pixels.slice(from).every((level, i) => Math.abs(level - init[from + i]) <= 1), `${sampler}: what the mask keeps stays`);
          assert.notDeepEqual(pixels.slice(0, from), init.slice(0, from), `${sampler}: the rest is made`);
        }
        const distance = (other) => values.reduce((sum, value, i) => sum + Math.abs(value - other[i]), 0);
        assert.ok(distance(weak) < distance(strong), 'the stronger, the further from the picture');
        assert.equal(upscaled, width);
        assert.ok(distance(back) / values.length < 0.1, `back from its noise ${distance(back) / values.length} apart`);
      });

      test('noise that is given makes the images of the seed that means it', async () => {
        const { usual, made, refused, label } = await site.page.evaluate(given);
        const largest = apart(made, usual);
        assert.ok(largest < 0.1, `${largest} of 255 levels apart: rounding alone`);
        assert.equal(refused, 'bad-options');
        assert.equal(label, 5, 'classes go by the index, as the program’s');
      });

      test('noise between two seeds makes the images of the command', async () => {
        const made = await site.page.evaluate(between);
        const base = join(MODELS, 'base.safetensors');
        const steps = ['--sampler', 'ddim', '--steps', 'ddim5'];
        const expected = await natively(['--model', base, '--class', '1', '--interpolate', '3,4,3', ...steps]);
        assert.ok(apart(made, expected) <= 1, `${apart(made, expected)} of 255 levels apart`);
      });

      test('bits per dimension are those of the command', async () => {
        const { bits, steps, errors, png } = await site.page.evaluate(measured);
        const out = mkdtempSync(join(tmpdir(), 'bits-'));
        try {
          const input = join(out, 'image.png');
          writeFileSync(input, new Uint8Array(png));
          const model = ['--model', join(MODELS, 'base.safetensors'), '--class', '1'];
          const said = JSON.parse(await program(['nll', ...model, '--input', input, '--steps', '10', '--seed', '5', '--json']));
          const { total, prior, vb, xstart_mse: xstartMse, mse } = said;
          const pairs = [bits.total, bits.prior, ...bits.vb, ...bits.xstartMse, ...bits.mse].map((own, k) => [own, [total, prior, ...vb, ...xstartMse, ...mse][k]]);
          assert.equal(pairs.length, 32);
          // Kernels round otherwise in a browser, as for images.
          for (const [own, expected] of pairs) assert.ok(Math.abs(own - expected) <= 1e-3 * Math.max(Math.abs(expected), 1e-2), `${own} is not ${expected}`);
        } finally {
          rmSync(out, { recursive: true });
        }
        assert.deepEqual(steps, Array.from({ length: 10 }, (_, k) => `${k + 1} of 10`));
        assert.deepEqual(errors, ['AbortError', 'bad-options']);
      });

      test('tuning measures, keeps what it found, and later loads use it', async () => {
        const { page } = site;
        const usual = await page.evaluate(tuned, {});
        assert.deepEqual([usual.tuned, usual.caches], [0, []], 'nothing is measured unasked');

        // All kinds of kernel take minutes on a software driver: after two of them it is stopped.
        const some = await page.evaluate(tuned, { tune: {}, stopAfter: 2 });
        assert.equal(some.result, 'AbortError');
        const [[none, total], [measured]] = [some.progress[0], some.progress.at(-1)];
        assert.ok(none === 0 && measured >= 2 && total > measured, `all of it is counted first: ${some.progress.join(' | ')}`);
        assert.deepEqual(some.values, usual.values, 'a model that is loaded stays as it is');

        await page.reload();
        await page.evaluate(open);
        const more = await page.evaluate(tuned, { tune: {}, stopAfter: 1 });
        // What was being measured when it was stopped may be there too.
        const first = Object.entries(more.caches[0].variants);
        assert.ok(first.length >= measured && first.length < total, `${first.length} of ${total} were kept`);
        assert.deepEqual(more.progress[0], [0, total - first.length], 'they are not measured again');
        assert.ok(apart(more.values, usual.values) <= 1);

        const later = await page.evaluate(tuned, { tune: { budgetMs: 1 } });
        const { variants } = later.caches[0];
        const kept = Object.keys(variants).length;
        assert.ok(kept > first.length && first.every(([key, variant]) => variants[key] === variant), 'more is added to it');
        assert.ok(apart(later.values, usual.values) <= 1);
        const { measured: now, left } = later.result;
        assert.ok(left > 0 && now + left === total - kept, `a budget ends it: ${JSON.stringify(later.result)}`);
        console.log(`${name}: ${kept} of ${total} kinds of kernel measured, ${later.tuned} changed`);

        // What a tuning cache says is done, where the driver has that variant.
        const forced = await page.evaluate(tuned, { alter: { variant: UNUSUAL[id] } });
        assert.ok(forced.tuned > 0, `${forced.tuned} kernels follow the cache`);
        assert.deepEqual(forced.warnings, []);
        assert.ok(apart(forced.values, usual.values) <= 1);
        const other = await page.evaluate(tuned, { alter: { device: 'another' } });
        assert.deepEqual([other.tuned, other.values], [0, usual.values], 'a cache of another device or version is ignored');
        const damaged = await page.evaluate(tuned, { alter: { text: '{"device":' } });
        assert.deepEqual([damaged.tuned, damaged.values], [0, usual.values], 'nor is a damaged one');
        const forgotten = await page.evaluate(tuned, { forget: true });
        assert.deepEqual(forgotten, { caches: [] });
      });

      test('nothing is written to the console', () => assert.deepEqual(site.messages, []));
    });
  }
});

test('the tarball has the licences, the types and a small wasm file', async () => {
  const out = mkdtempSync(join(tmpdir(), 'pack-'));
  try {
    const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: folder('web/package'), env: { ...process.env, npm_config_cache: out } });
    const files = JSON.parse(stdout)[0].files.map(({ path }) => path);
    for (const path of ['LICENSE', 'THIRD-PARTY-NOTICES.txt', 'README.md', 'package.json', 'dist/index.js', 'dist/index.d.ts', 'dist/worker/worker.js']) {
      assert.ok(files.includes(path), path);
    }
    assert.ok(files.every((path) => path.startsWith('dist/') || !path.includes('/')), 'no sources');
  } finally {
    rmSync(out, { recursive: true });
  }
  const notices = readFileSync(folder('web/package/THIRD-PARTY-NOTICES.txt'), 'utf8');
  for (const project of [/^guided-diffusion /m, /^wgpu \d/m, /^safetensors \d.*Apache/m, /^serde \d/m, /the Rust standard library/]) {
    assert.match(notices, project);
  }
  assert.doesNotMatch(notices, /\.cargo|registry\/src|\/home\/|\/root\//, 'no place on the machine that built it');
  assert.equal(readFileSync(folder('web/dist/THIRD-PARTY-NOTICES.txt'), 'utf8'), notices);
  const wasm = readFileSync(folder('web/package/dist/wasm/guided_diffusion_web_bg.wasm'));
  assert.ok(gzipSync(wasm, { level: 9 }).length <= 500_000, 'a visitor downloads at most 500 KB of it');
});
