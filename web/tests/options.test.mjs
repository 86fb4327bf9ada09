/** What the package says of options before anything crosses to its worker, so that no browser is needed to see it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuidedDiffusion, GuidedDiffusionError, Model, sampleStack } from 'guided-diffusion';

/** The names of the page's own kinds of picture, which Node has not. */
globalThis.ImageData ??= class ImageData {};
globalThis.location ??= new URL('https://example.org/');

const info = { process: 'discrete', diffusionSteps: 1000, classes: 4, classNames: ['T-shirt/top', 'Ankle boot', 'goldfish, Carassius auratus', 'Rain boot'] };
const calls = [];
const client = {
  call: async (name, take) => {
    calls.push([name, take]);
    return { handle: 0, info };
  },
};
const model = new Model(client, 0, info);
const engine = new GuidedDiffusion(client, {});

/** What a call is refused with; it must not have reached the worker. */
async function refusal(make) {
  calls.length = 0;
  const error = await Promise.resolve()
    .then(make)
    .then((run) => run?.result)
    .then(() => null, (error) => error);
  assert.ok(error instanceof GuidedDiffusionError && error.code === 'bad-options', `${make}: ${error}`);
  assert.deepEqual(calls, [], `${make}`);
  return error.message;
}

const sampled = async (options) => {
  calls.length = 0;
  await model.sample(options).result;
  return calls[0][1].options;
};

test('an option that is not known is refused, and the nearest is named', async () => {
  const wrong = [
    [() => model.sample({ class: [1] }), /^sample: .*no option class;.* classes$/],
    [() => model.sample({ sede: 3 }), /sede;.* seed$/],
    [() => model.sample({ numSteps: 2 }), /numSteps;.* steps$/],
    [() => model.sample({ guidance_interval: [0, 1] }), /guidanceInterval$/],
    [() => model.sample({ negativePrompt: 'x' }), /negativePrompt; there are .*sampler, steps, /],
    [() => model.sample({ toString: 1 }), /no option toString/],
    [() => model.sample({ edit: { upscle: 2 } }), /^edit: .*upscale$/],
    [() => model.upsample([], { stepps: 2 }), /steps$/],
    [() => sampleStack(model, model, { upsampler: { step: 2 } }), /^upsampler: .*steps$/],
    [() => model.tune({ budget: 2 }), /^tune: .*budgetMs$/],
    [() => model.bitsPerDimension(new ImageData(), { klass: 2 }), /^bitsPerDimension: .*class$/],
    [() => engine.load('/m', { batchSize: 4 }), /^load: .*batch$/],
  ];
  for (const [make, message] of wrong) assert.match(await refusal(make), message);
});

test('an option of the wrong type is refused by its name, before anything is loaded', async () => {
  const init = new ImageData();
  const wrong = [
    [() => model.sample({ eta: '0' }), /give eta as a number$/],
    [() => model.sample({ classes: 3 }), /give classes as an array/],
    [() => model.sample({ steps: [3] }), /give steps as a number or text$/],
    [() => model.sample(7), /as an object/],
    [() => model.sample({ init: {} }), /^init: .*getImageData/],
    [() => model.sample({ mask: { width: 2, height: 2, data: new Uint8Array(4) } }), /^mask: give init/],
    [() => model.sample({ init, mask: { width: 32, height: 32, data: new Uint8Array(100) } }), /^mask: 100 bytes for 32x32 pixels/],
    [() => model.sample({ init, mask: { width: 2, height: 2, data: [0, 0, 0, 0] } }), /^mask: other data/],
    [() => engine.load('/m', { sha256: '00' }), /^sha256 "00": give 64/],
    [() => engine.load(''), /^model: its address is empty/],
    [() => engine.load('/m', { classifier: ' ' }), /^classifier: its address is empty/],
  ];
  for (const [make, message] of wrong) assert.match(await refusal(make), message);
  const usual = await sampled({ count: undefined, classes: [1], eta: 0, size: [8, 8], clipDenoised: true, edit: { upscale: 2 } });
  assert.deepEqual([usual.classes, usual.settings.eta], [[1], 0], 'what is known passes');
});

test('classes are found by name as the command line finds them', async () => {
  const found = await sampled({ classes: ['ankle-boot', 'T-SHIRT', 'Goldfish', 'rain', 0] });
  assert.deepEqual(found.classes, [1, 0, 2, 3, 0]);
  const wrong = [
    ['boot', /part of several names: Ankle boot, Rain boot/],
    ['godlfish, carassius auratus', /nearest is goldfish/],
    ['face', /there are T-shirt\/top, Ankle boot/],
    ['', /no such class/],
  ];
  for (const [name, message] of wrong) assert.match(await refusal(() => model.sample({ classes: [name] })), message);
  const nameless = new Model(client, 0, { ...info, classNames: [] });
  assert.match(await refusal(() => nameless.sample({ classes: ['boot'] })), /no names; give numbers from 0 to 3/);
});

test('a load says what has changed, and nothing twice', async () => {
  const progress = (done) => ({ loaded: 0, total: 1, from: 'device', files: [], kernels: { done, total: 2 } });
  const reporting = {
    async call(name, take, { onEvent }) {
      for (const done of [0, 0, 1, 1, 1, 2]) onEvent({ kind: 'progress', progress: progress(done) });
      return { handle: 0, info };
    },
  };
  const told = [];
  await new GuidedDiffusion(reporting, {}).load('models/m.safetensors', { onProgress: ({ kernels }) => told.push(kernels.done) });
  assert.deepEqual(told, [0, 1, 2]);
});
