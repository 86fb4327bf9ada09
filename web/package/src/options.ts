/**
 * The names and types of all options, for JavaScript without types: a misspelt name is refused with the nearest one, instead of
 * being as if it were not there.
 */
import { GuidedDiffusionError } from './errors.js';
import type { EditSettings, Settings } from './generated/settings.js';
import type { BitsOptions, EngineOptions, LoadOptions, SampleOptions, TuneOptions } from './types.js';

const number = (value: unknown) => typeof value === 'number';
const text = (value: unknown) => typeof value === 'string';
const list = (value: unknown, of: (one: unknown) => boolean) => Array.isArray(value) && value.every(of);

/** What a value must be, and whether it is. What is checked where it is used counts as anything. */
const KINDS = {
  'a number': number,
  text,
  'a number or text': (value: unknown) => number(value) || text(value),
  'true or false': (value: unknown) => typeof value === 'boolean',
  'an array of numbers': (value: unknown) => list(value, number),
  'an array of class numbers and names': (value: unknown) => list(value, (one) => number(one) || text(one)),
  'an object': (value: unknown) => typeof value === 'object',
  'a function': (value: unknown) => typeof value === 'function',
  anything: () => true,
};

/** All names of `T`, which the compiler checks. */
type Names<T> = { readonly [Name in keyof Required<T>]: keyof typeof KINDS };

const edit: Names<EditSettings> = { mask: 'true or false', colourise: 'text', upscale: 'a number' };

const settings: Names<Omit<Settings, 'seed'>> = {
  sampler: 'text',
  steps: 'a number or text',
  eta: 'a number',
  clipDenoised: 'true or false',
  guidance: 'a number',
  guidanceInterval: 'an array of numbers',
  strength: 'a number',
  grid: 'an array of numbers',
  churn: 'a number',
  churnMin: 'a number',
  churnMax: 'a number',
  churnNoise: 'a number',
  analyticStart: 'true or false',
  denoise: 'true or false',
  at: 'an array of numbers',
  jumpLength: 'a number',
  jumpRepeats: 'a number',
  sigmaY: 'a number',
  threshold: 'true or false',
  edit: 'an object',
  size: 'an array of numbers',
};

const sample: Names<SampleOptions> = {
  ...settings,
  count: 'a number',
  classes: 'an array of class numbers and names',
  seed: 'anything',
  noise: 'anything',
  init: 'anything',
  mask: 'an object',
  fit: 'text',
  previewEvery: 'a number',
  inside: 'true or false',
  firstIndex: 'a number',
  signal: 'an object',
};

const load: Names<LoadOptions> = {
  classifier: 'anything',
  batch: 'a number',
  precision: 'text',
  cache: 'true or false',
  sha256: 'text',
  headers: 'anything',
  fetch: 'a function',
  lowResolution: 'a number',
  size: 'an array of numbers',
  flags: 'text',
  signal: 'an object',
  onProgress: 'a function',
};

const create: Names<EngineOptions> = { powerPreference: 'text', workerUrl: 'anything', wasmUrl: 'anything', signal: 'an object' };

const bits: Names<BitsOptions> = {
  class: 'a number or text',
  steps: 'a number or text',
  seed: 'anything',
  fit: 'text',
  signal: 'an object',
  onStep: 'a function',
};

const tune: Names<TuneOptions> = { budgetMs: 'a number', signal: 'an object', onProgress: 'a function' };

const CALLS = { create, load, sample, edit, bits, tune };

/** Refuses options of a call that it does not have, or of another type. `what` is what messages call it. */
export function check(call: keyof typeof CALLS, options: object, what: string): void {
  const names: Record<string, keyof typeof KINDS> = CALLS[call];
  const refuse = (why: string) => new GuidedDiffusionError('bad-options', `${what}: ${why}`);
  if (typeof options !== 'object' || options === null) throw refuse('give its options as an object');
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.hasOwn(names, name) ? names[name] : undefined;
    if (!kind) {
      const near = nearest(name, Object.keys(names));
      throw refuse(`there is no option ${name}; ${near ? `the nearest is ${near}` : `there are ${Object.keys(names).join(', ')}`}`);
    }
    if (value !== undefined && value !== null && !KINDS[kind](value)) throw refuse(`give ${name} as ${kind}`);
  }
  if (call === 'sample') check('edit', (options as SampleOptions).edit ?? {}, 'edit');
}

/** The name that a wrong one is most like; null where it is like none. */
export function nearest(wrong: string, names: readonly string[]): string | null {
  const far = (name: string) => edits(name.toLowerCase(), wrong.toLowerCase()) / Math.max(name.length, wrong.length);
  const [best] = names.map((name) => ({ name, far: far(name) })).sort((a, b) => a.far - b.far);
  return best && best.far <= 0.5 ? best.name : null;
}

/** How many letters must be added, removed, replaced or swapped with the next one to make one word of another. */
function edits(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, k) => k)];
  const at = (i: number, k: number) => rows[i]?.[k] ?? Infinity;
  for (let i = 1; i <= from.length; i++) {
    const row = (rows[i] = [i]);
    for (let k = 1; k <= to.length; k++) {
      const replaced = at(i - 1, k - 1) + (from[i - 1] === to[k - 1] ? 0 : 1);
      const isSwap = from[i - 1] === to[k - 2] && from[i - 2] === to[k - 1];
      row.push(Math.min(replaced, at(i - 1, k) + 1, at(i, k - 1) + 1, isSwap ? at(i - 2, k - 2) + 1 : Infinity));
    }
  }
  return at(from.length, to.length);
}
