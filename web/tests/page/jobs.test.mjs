/** What the page works out without a browser: numbers of steps, captions, where each of its states may lead, what its service worker answers. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { samplers } from 'guided-diffusion';
import { caption, factsOf, jobOf, restOf, trailSteps } from '../../dist/jobs.js';
import { folder } from '../lib/folder.mjs';
import { stepsOf, usualSteps } from '../../dist/settings.js';
import { Machine, buttonsOf } from '../../dist/state.js';

const settings = { label: 1, count: 2, steps: 25, sampler: 'ddim', eta: 0, guidance: 3, seed: 7n, first: 0, enlarge: 5 };
const usual = { sampler: 'ddim', steps: 25, guidance: 2 };
const facts = { classes: 3, classNames: ['Shirt', 'Bag', 'Boot'], guided: true, diffusionSteps: 1000, process: 'discrete', usual };
const choice = { source: 'https://example.org/m', options: {}, upsampler: null, name: 'Model', batch: 0, linked: null };

test('on every place of the slider, the steps are those that DDIM makes', () => {
  for (const all of [64, 250, 1000, 4000]) {
    for (let place = 2; place <= 100; place++) {
      const steps = stepsOf(place, 'ddim', all);
      const strides = Array.from({ length: all }, (_, k) => Math.ceil(all / (k + 1)));
      assert.ok(steps <= place && strides.includes(steps), `${place} of ${all}: ${steps}`);
      assert.equal(stepsOf(steps, 'ddim', all), steps, 'and a place of its own');
    }
  }
});

test('a sampler begins with the registry’s own number of steps for the model’s process', () => {
  const expected = { ancestral: 250, ddim: 25, 'dpm++2m': 20, 'dpm++3m': 20, ipndm: 10, euler: 18, euler_ancestral: 25, heun: 18, dpm: 18 };
  const discrete = samplers.filter(({ kinds }) => kinds.includes('discrete')).map(({ name }) => [name, usualSteps(name, 'discrete')]);
  assert.deepEqual(Object.fromEntries(discrete), expected);
  assert.deepEqual([usualSteps('ancestral', 'edm'), usualSteps('heun', 'edm')], [40, 18]);
  assert.deepEqual([usualSteps('onestep', 'consistency'), usualSteps('multistep', 'consistency')], [1, 2], 'evaluations');
  const drawn = { init: {}, mask: null, strength: 0.7 };
  assert.equal(jobOf('draw', { ...settings, sampler: 'multistep', steps: 2 }, { ...facts, process: 'consistency' }, choice, drawn).settings.steps, 18);
});

test('captions and facts name what the model has, and nothing else', () => {
  const of = (more) => {
    const job = jobOf('images', settings, { ...facts, ...more }, choice);
    return [caption(job), Object.keys(factsOf(job, 0)).join()];
  };
  assert.deepEqual(of({}), ['Bag, 25 DDIM steps, guidance 3, seed 7', 'Image,Model,Seed,Steps,Sampler,Guidance']);
  const upsampler = { usual: { sampler: 'heun', steps: 5, guidance: 1 }, diffusionSteps: 1000 };
  assert.equal(of({ upsampler })[0], 'Bag, 25 DDIM steps, enlarged in 5, guidance 3, seed 7');
  const own = jobOf('images', { ...settings, enlarge: 9 }, { ...facts, upsampler }, choice);
  assert.match(caption(own), /^Bag, 25 DDIM steps, enlarged in 9,/);
  const plain = jobOf('images', settings, facts, choice);
  assert.deepEqual([trailSteps(own, 1), trailSteps(own, 1, true), trailSteps(plain, 0)], [9, 25, 25], 'an image shows the steps that it came from');
  assert.deepEqual(of({ guided: false }), ['Bag, 25 DDIM steps, seed 7', 'Image,Model,Seed,Steps,Sampler']);
  assert.deepEqual(of({ guided: false, classes: 0, classNames: [] }), ['25 DDIM steps, seed 7', 'Image,Model,Seed,Steps,Sampler']);
});

test('one state follows from another as the table says, and the buttons from it', () => {
  const seen = [];
  const machine = new Machine(({ kind }) => seen.push(kind));
  const shown = (state) => {
    machine.enter(state);
    const { generate, cancel } = buttonsOf(machine.state);
    return [machine.busy, generate, cancel];
  };
  assert.throws(() => machine.enter({ kind: 'running', job: null }), /idle to running/, 'nothing runs without a model');
  assert.deepEqual(shown({ kind: 'loading', choice, next: null }), [true, true, true]);
  assert.deepEqual(shown({ kind: 'loading', choice, next: 'generate' }), [true, false, true]);
  assert.deepEqual(shown({ kind: 'failed', error: new Error('e'), retry: { kind: 'load', choice } }), [false, true, false]);
  assert.deepEqual(shown({ kind: 'loading', choice, next: null }), [true, true, true]);
  assert.deepEqual(shown({ kind: 'ready' }), [false, true, false]);
  assert.deepEqual(shown({ kind: 'running', job: null }), [true, false, true]);
  assert.deepEqual(shown({ kind: 'idle' }), [false, true, false]);
  assert.deepEqual(seen, ['loading', 'loading', 'failed', 'loading', 'ready', 'running', 'idle']);
});

test('a model that gets a classifier keeps the settings that are not the classifier’s', () => {
  const machine = new Machine(() => undefined);
  machine.aim = { kind: 'model', choice, keep: null };
  assert.equal(machine.keepFor(choice, true), null);
  const guided = { ...choice, options: { classifier: 'https://example.org/c' } };
  assert.deepEqual([...machine.keepFor(guided, false)], ['label', 'first', 'sampler', 'steps', 'enlarge']);
  assert.deepEqual([...machine.keepFor({ ...choice, source: 'https://example.org/other' }, true)], []);
});

test('what is left of a job is a job of its own', () => {
  const six = { ...settings, label: null, count: 6, first: 2 };
  const job = jobOf('images', six, facts, choice);
  const left = restOf(job, new Set([0, 1]));
  assert.deepEqual(left.cells, job.cells.slice(2));
  assert.deepEqual([left.settings.first, left.settings.count, left.parts], [4, 4, [{ settings: { ...six, first: 4, count: 4 }, cells: [0, 1, 2, 3] }]]);
  const compared = jobOf('guidance', settings, facts, choice);
  const rest = restOf(compared, new Set([0]));
  assert.deepEqual([rest.cells, rest.parts.map(({ cells }) => cells), rest.settings], [compared.cells.slice(1), [[0], [1], [2], [3]], settings]);
  assert.equal(restOf(job, new Set()), job);
});

test('the service worker asks the server past the browser’s cache; what it kept serves where that fails', async () => {
  const [asked, listeners] = [[], {}];
  let answer = null;
  const scope = {
    self: { registration: { scope: '/' }, addEventListener: (name, listener) => (listeners[name] = listener) },
    location: { origin: 'https://example.org' },
    URL,
    Promise,
    caches: { open: async () => ({ match: async () => 'kept' }) },
    fetch: async (request, how) => {
      asked.push(how.cache);
      if (!answer) throw new TypeError('no network');
      return answer;
    },
  };
  runInNewContext(readFileSync(folder('web/dist/sw.js'), 'utf8'), scope);
  const ask = () => {
    let response = null;
    listeners.fetch({ request: { method: 'GET', url: 'https://example.org/main.js' }, respondWith: (one) => (response = one) });
    return response;
  };
  assert.equal(await ask(), 'kept');
  answer = { status: 503 };
  assert.equal(await ask(), 'kept');
  answer = { status: 404 };
  assert.equal(await ask(), answer);
  assert.deepEqual(new Set(asked), new Set(['no-cache']));
});
