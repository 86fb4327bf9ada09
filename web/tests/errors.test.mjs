/**
 * What goes wrong beside files: each is a GuidedDiffusionError with a code, and nothing that is under way suffers from it. In both
 * engines, with a tiny model, and in Node, where the package may be imported.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { GuidedDiffusion, GuidedDiffusionError, browsers as needed } from 'guided-diffusion';
import { PATIENCE, browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { openSite } from './lib/site.mjs';
import { readFileSync } from 'node:fs';

const MODELS = folder('target/tiny-models');

/** Runs in the page: what each invalid call fails with. */
async function misuse() {
  const { GuidedDiffusion, GuidedDiffusionError, interpolateNoise, sampleStack, seedNoise } = await import('/guided-diffusion/index.js');
  const engine = await GuidedDiffusion.create();
  const model = await engine.load('/models/base.safetensors');
  const calls = {
    address: () => engine.load('http://['),
    source: () => engine.load(5),
    nothing: () => engine.load(''),
    hash: () => engine.load('/models/base.safetensors', { sha256: '00' }),
    classifier: () => engine.load('/models/base.safetensors', { classifier: 'http://[' }),
    headers: () => engine.load('/models/base.safetensors', { headers: { 'a b': 'c' } }),
    clone: () => model.sample({ noise: () => 1 }).result,
    image: () => model.upsample([{}]).result,
    images: () => model.upsample(undefined).result,
    infinite: () => model.sample({ guidance: Infinity }).result,
    nan: () => model.sample({ eta: NaN }).result,
    noise: () => seedNoise(-1, 0, 4),
    lengths: () => interpolateNoise(new Float32Array(4), new Float32Array(3), 0.5),
    seed: () => model.sample({ seed: 1.5 }).result,
    stackSeed: () => sampleStack(model, model, { seed: -1 }).result,
    stored: () => engine.deleteStored('http://['),
    worker: () => GuidedDiffusion.create({ workerUrl: 'http://[' }),
  };
  const found = {};
  // Whatever is a promise, or has one, throws nothing by itself.
  const made = [() => model.sample({ seed: -1 }), () => sampleStack(model, model, { seed: -1 }), () => model.upsample(), () => model.bitsPerDimension({})];
  for (const [k, make] of made.entries()) {
    calls[`rejected ${k}`] = () => {
      let one = null;
      try {
        one = make();
      } catch {
        return;
      }
      return one.result ?? one;
    };
  }
  const outcome = (call) =>
    Promise.resolve()
      .then(call)
      .then(
        () => 'nothing',
        (error) => (error instanceof GuidedDiffusionError ? error.code : `${error.name}: ${error.message}`),
      );
  for (const [name, call] of Object.entries(calls)) found[name] = await outcome(call);
  const cause = await engine.load('http://[').catch((error) => error.cause.name);
  const pt = await engine.load('/pt/network.pt').catch(({ code, message }) => `${code}: ${message}`);
  const text = (options) => model.sample({ classes: [1], ...options }).result.then(() => '', ({ message }) => message);
  const other = new ImageData(3, 5);
  other.data.fill(255);
  const texts = {
    fit: await text({ init: other, strength: 0.5 }),
    size: await text({ size: [16, 16] }),
    whole: await text({ edit: { upscale: 1.5 } }),
    sampler: await text({ sampler: 'nonsense' }),
  };
  // Nothing waits for an answer that never comes.
  const [image] = await model.sample({ classes: [1], steps: 'ddim2', seed: 3 }).result;
  // As `await using` does at the end of its block.
  await model[Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]();
  const gone = [await outcome(() => model.sample().result)];
  await engine[Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]();
  gone.push(await outcome(() => engine.stored()));
  return { found, cause, pt, texts, width: image.width, gone };
}

/** Runs in the page. */
async function start(options) {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  try {
    (await GuidedDiffusion.create(options)).dispose();
    return null;
  } catch ({ code, message }) {
    return { code, message };
  }
}

/** Runs in the page: cancels a run in its third batch. */
async function cancelLate() {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  const engine = await GuidedDiffusion.create();
  const model = await engine.load('/models/base.safetensors');
  const run = model.sample({ count: 6, steps: 'ddim3' });
  for await (const { imagesDone } of run) if (imagesDone === 2) run.cancel();
  const reason = await run.result.catch(({ name }) => name);
  const again = await model.sample({ count: 1, steps: 'ddim3', seed: run.seed }).result;
  const same = run.images[0].values.every((value, i) => value === again[0].values[i]);
  engine.dispose();
  return { reason, indices: run.images.map(({ index }) => index), same };
}

/** Runs in the page: how long another model's run and end take while a download stands still. */
async function besides([url, patience]) {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  const engine = await GuidedDiffusion.create();
  const model = await engine.load('/models/base.safetensors');
  const control = new AbortController();
  let begun;
  const loading = engine.load(url, {
    cache: false,
    signal: control.signal,
    onProgress: (progress) => progress.from !== 'device' && begun?.(),
  });
  await new Promise((resolve) => (begun = resolve));
  const work = (async () => {
    const images = await model.sample({ count: 1, steps: 'ddim2' }).result;
    await model.dispose();
    return images.length;
  })();
  const waited = new Promise((resolve) => setTimeout(resolve, patience, 'it waited for the download'));
  const done = await Promise.race([work, waited]);
  control.abort();
  const stopped = await loading.catch(({ name }) => name);
  engine.dispose();
  return [done, stopped];
}

describe('errors', { concurrency: true }, () => {
  for (const { name, launch } of browsers()) {
    describe(name, { concurrency: false }, () => {
      let [site, faulty, page] = [];
      before(async () => {
        site = await openSite(launch, { '/models/': MODELS, '/pt/': folder('tests/fixtures/pt') }, MODELS);
        ({ faulty, page } = site);
      });
      after(() => site?.close());

      test('an invalid call fails with a code, and leaves the others alone', async () => {
        const { found, cause, pt, texts, width, gone } = await page.evaluate(misuse);
        assert.deepEqual(Object.entries(found).filter(([, code]) => code !== 'bad-options'), []);
        assert.equal(cause, 'TypeError', 'the browser’s own error is its cause');
        assert.match(pt, /^bad-file: network\.pt.*guided-diffusion convert/s, 'a .pt file from an address');
        assert.match(texts.fit, /is 3x5.*fit: 'crop' or 'pad'/s, 'in the words of the package, not the command line’s');
        assert.match(texts.size, /load it with another size/);
        assert.match(texts.whole, /^upscale: .*1\.5/);
        assert.match(texts.sampler, /^sampler "nonsense" is unknown/);
        for (const message of Object.values(texts)) assert.doesNotMatch(message, /--|line 1/);
        assert.equal(width, 8);
        assert.deepEqual(gone, ['bad-options', 'bad-options'], 'what was disposed of does nothing more');
      });

      test('a file of the package that is not where it should be is said so', async () => {
        const wasm = await page.evaluate(start, { wasmUrl: '/nowhere.wasm' });
        assert.deepEqual([wasm.code, /nowhere\.wasm.*404.*wasmUrl/.test(wasm.message)], ['network', true], wasm.message);
        const other = await page.evaluate(start, { wasmUrl: '/models/base.safetensors' });
        assert.deepEqual([other.code, /cannot be compiled.*wasmUrl.*wasm-unsafe-eval/.test(other.message)], ['network', true], other.message);
        const worker = await page.evaluate(start, { workerUrl: '/nowhere.js' });
        assert.deepEqual([worker.code, /workerUrl/.test(worker.message)], ['network', true], worker.message);
      });

      test('a start can be stopped', async () => {
        const stopped = await page.evaluate(async () => {
          const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
          return GuidedDiffusion.create({ signal: AbortSignal.timeout(1) }).then(
            () => null,
            ({ name }) => name,
          );
        });
        assert.equal(stopped, 'TimeoutError');
        assert.equal(await page.evaluate(() => import('/guided-diffusion/index.js').then((all) => all.GuidedDiffusion.isSupported())), true);
      });

      test('a cancelled run keeps the images that it finished, and its seed', async () => {
        assert.deepEqual(await page.evaluate(cancelLate), { reason: 'AbortError', indices: [0, 1], same: true });
      });

      test('a download holds up no other model, and can be stopped', async () => {
        faulty.state.fault = 'stall';
        const found = await page.evaluate(besides, [`${faulty.url}/plain/base.safetensors`, PATIENCE]);
        assert.deepEqual(found, [1, 'AbortError']);
      });
    });
  }
});

test('Node may import it, and gets an error that says it is not a browser', async () => {
  assert.equal(await GuidedDiffusion.isSupported(), false);
  await assert.rejects(GuidedDiffusion.create(), (error) => error instanceof GuidedDiffusionError && error.code === 'no-webgpu');
});

test('a load that is stopped while its answer is on its way gives its model back', async () => {
  const sent = [];
  /** A worker that answers when the test says so. */
  class FakeWorker {
    postMessage(message) {
      sent.push(message);
      if (message.call === 'open') this.answer(message, {});
      this.constructor.last = this;
    }
    answer({ id }, answer) {
      queueMicrotask(() => this.onmessage({ data: { id, answer } }));
    }
    terminate() {}
  }
  const globals = { Worker: FakeWorker, location: new URL('https://example.org/'), navigator: { gpu: {} } };
  const before = Object.fromEntries(Object.keys(globals).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true });
  try {
    const engine = await GuidedDiffusion.create();
    const control = new AbortController();
    const loading = engine.load('https://example.org/m', { signal: control.signal });
    while (sent.at(-1).call !== 'load') await new Promise((resolve) => setTimeout(resolve));
    FakeWorker.last.answer(sent.at(-1), { handle: 7, info: {} });
    control.abort(new Error('no longer'));
    await assert.rejects(loading, /no longer/);
    assert.deepEqual(sent.map(({ call }) => call), ['open', 'load', 'cancel', 'disposeModel']);
    assert.equal(sent.at(-1).take.handle, 7);
  } finally {
    for (const [name, how] of Object.entries(before)) {
      if (how) Object.defineProperty(globalThis, name, how);
      else delete globalThis[name];
    }
  }
});

test('the READMEs name the browsers as the code does', () => {
  const [words, short] = ['web/package/README.md', 'README.md'].map((name) => readFileSync(folder(name), 'utf8').replace(/\s+/g, ' '));
  for (const { name, version, systems } of needed) {
    const said = `${name} ${version} (${systems})`;
    assert.ok(words.includes(said), said);
    assert.ok(short.includes(`${name} ${version}`), name);
  }
});
