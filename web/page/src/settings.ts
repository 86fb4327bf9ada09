/**
 * What a run is asked for: the settings with their bounds, and their form as a link. A link comes from anywhere, so
 * each value is parsed on its own, within bounds, and anything else is left at its default.
 */
import { type ModelInfo, type SamplerName as Sampler, randomSeed, samplers, strideSteps } from 'guided-diffusion';
import { sentence } from './plain.js';

export type { SamplerName as Sampler } from 'guided-diffusion';

/** What a model was trained on. */
export type Process = ModelInfo['process'];

/** The samplers that sample from a process. */
export const offered = (process: Process) => samplers.filter(({ kinds }) => (kinds as readonly string[]).includes(process));

const takes = (sampler: Sampler, option: string) => samplers.some(({ name, options }) => name === sampler && (options as readonly string[]).includes(option));

/** Whether a sampler has DDIM's eta. */
export const takesEta = (sampler: Sampler) => takes(sampler, 'eta');

/** Whether a sampler varies a picture. */
export const takesStrength = (sampler: Sampler) => takes(sampler, 'strength');

export const titleOf = (sampler: Sampler) => (sampler === 'ddim' ? 'DDIM' : sampler);

/** What a sampler does, in words. */
export function aboutSampler(sampler: Sampler): string {
  const summary = samplers.find(({ name }) => name === sampler)?.summary ?? '';
  const eta = takesEta(sampler) ? ' Eta is how much new noise each of its steps adds: 0 is none, 1 as much as “ancestral”.' : '';
  return `${sentence(summary)}.${eta}`;
}

export interface Settings {
  /** null: all classes in turn. */
  label: number | null;
  count: number;
  steps: number;
  /** Those of a stack's second stage, by its own sampler. */
  enlarge: number;
  sampler: Sampler;
  eta: number;
  guidance: number;
  seed: bigint;
  /** Index of the first image: image k of a seed is the same in every run. */
  first: number;
}

const BUILT_IN = ['emoji', 'emoji-guided', 'fashion', 'stack'] as const;

/** The models that come with the page. */
export type BuiltIn = (typeof BUILT_IN)[number];

/** Where a link's model comes from; files on a disk cannot be linked. */
export type LinkedModel = { kind: BuiltIn } | { kind: 'url'; model: string; classifier: string; upsampler: string };

interface Range {
  min: number;
  max: number;
  whole: boolean;
}

export const bounds = {
  label: { min: 0, max: 99_999, whole: true },
  count: { min: 1, max: 64, whole: true },
  steps: { min: 2, max: 1000, whole: true },
  enlarge: { min: 2, max: 1000, whole: true },
  eta: { min: 0, max: 1, whole: false },
  guidance: { min: 0, max: 100, whole: false },
  first: { min: 0, max: 999_999, whole: true },
} satisfies Record<string, Range>;

/** Noise levels from which a consistency model's are taken. */
const LEVELS = 40;

/** Steps that a sampler makes of a process by default; of a consistency model's own samplers, where those are levels, evaluations. */
export function usualSteps(sampler: Sampler, process: Process = 'discrete'): number {
  if (sampler === 'onestep' || sampler === 'multistep') return sampler === 'onestep' ? 1 : 2;
  const steps: Partial<Record<Process, number>> = samplers.find(({ name }) => name === sampler)?.steps ?? {};
  return steps[process] ?? bounds.steps.max;
}

/** The steps that a sampler makes of a number: DDIM's lie at a fixed stride, which not every number gives. */
export function stepsOf(steps: number, sampler: Sampler, diffusionSteps: number): number {
  const most = Math.min(steps, diffusionSteps);
  if (sampler === 'ddim') return strideSteps(most, diffusionSteps);
  return sampler === 'onestep' ? 1 : sampler === 'multistep' ? Math.min(most, LEVELS - 1) : most;
}

/** Sampler, steps and guidance that a model is good with. */
export type Usual = Pick<Settings, 'sampler' | 'steps' | 'guidance'>;

/** Those that a model's file says, or its process; a classifier is shown at work. */
export function usualOf({ defaults: { sampler, steps }, guided, process }: Pick<ModelInfo, 'defaults' | 'guided' | 'process'>): Usual {
  const own = sampler === 'onestep' || sampler === 'multistep' ? null : /\d+/.exec(steps)?.[0];
  return { sampler, steps: Number(own ?? usualSteps(sampler, process)), guidance: guided ? 2 : 1 };
}

/** How a number of steps is put to the sampler; nothing where it is what the model does by itself, on timesteps of its own. */
export function stepOptions({ sampler, steps }: Pick<Settings, 'sampler' | 'steps'>, usual: Usual) {
  if (sampler === usual.sampler && steps === usual.steps) return {};
  if (sampler === 'onestep') return { sampler };
  if (sampler !== 'multistep') return { sampler, steps };
  return { sampler, steps: LEVELS, at: Array.from({ length: steps + 1 }, (_, k) => Math.round((k * (LEVELS - 1)) / steps)) };
}

/** What suits the model that the page opens with, the emoji. */
export const OPENS_WITH: Usual = { sampler: 'dpm++2m', steps: 8, guidance: 1 };

/** The settings that the page opens with: one image of each class of emoji. */
function defaults(): Settings {
  return { ...OPENS_WITH, label: null, count: 12, enlarge: 5, eta: 0, seed: randomSeed(), first: 0 };
}

/** A plain decimal number within its range, else null. */
export function parseNumber(text: string | null, range: Range): number | null {
  if (text === null || !/^\d{1,6}(\.\d{1,6})?$/.test(text)) return null;
  const value = Number(text);
  if (range.whole && !Number.isInteger(value)) return null;
  return value >= range.min && value <= range.max ? value : null;
}

/** An unsigned 64-bit integer, else null. */
export function parseSeed(text: string | null): bigint | null {
  if (text === null || !/^\d{1,20}$/.test(text)) return null;
  const value = BigInt(text);
  return value < 1n << 64n ? value : null;
}

/** A URL that a model may be fetched from, else null. */
export function parseUrl(text: string | null): string | null {
  if (!text || text.length > 2000) return null;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  const local = ['localhost', '127.0.0.1'].includes(url.hostname);
  const allowed = url.protocol === 'https:' || (url.protocol === 'http:' && local);
  return allowed && !url.username && !url.password ? url.href : null;
}

/** The settings of a link's fragment. `named`: those that it names; `model` is null where it names none. */
export function parseLink(fragment: string): { settings: Settings; named: ReadonlySet<string>; model: LinkedModel | null } {
  const settings = defaults();
  const values = new URLSearchParams(fragment.replace(/^#/, '').slice(0, 8000));
  const named = new Set<string>();
  const note = <T>(name: string, value: T) => {
    if (value !== null && value !== undefined) named.add(name);
    return value;
  };
  const number = (name: keyof typeof bounds) => note(name, parseNumber(values.get(name), bounds[name]));

  settings.label = number('label');
  settings.sampler = note('sampler', samplers.find(({ name }) => name === values.get('sampler'))?.name) ?? settings.sampler;
  settings.count = number('count') ?? settings.count;
  settings.steps = number('steps') ?? (named.has('sampler') ? usualSteps(settings.sampler) : settings.steps);
  settings.enlarge = number('enlarge') ?? settings.enlarge;
  settings.eta = number('eta') ?? settings.eta;
  settings.guidance = number('guidance') ?? settings.guidance;
  settings.first = number('first') ?? settings.first;
  const seed = note('seed', parseSeed(values.get('seed')));
  settings.seed = seed ?? settings.seed;

  const url = parseUrl(values.get('model'));
  const other = (name: string) => parseUrl(values.get(name)) ?? '';
  const kind = BUILT_IN.find((one) => one === values.get('model'));
  const model: LinkedModel | null = url
    ? { kind: 'url', model: url, classifier: other('classifier'), upsampler: other('upsampler') }
    : kind
      ? { kind }
      : null;
  return { settings, named, model };
}

/** The fragment that `parseLink` reads. */
export function toLink(settings: Settings, model: LinkedModel | null): string {
  const values = new URLSearchParams();
  if (model?.kind === 'url') {
    values.set('model', model.model);
    if (model.classifier) values.set('classifier', model.classifier);
    if (model.upsampler) values.set('upsampler', model.upsampler);
  } else if (model) {
    values.set('model', model.kind);
  }
  if (settings.label !== null) values.set('label', String(settings.label));
  values.set('count', String(settings.count));
  values.set('steps', String(settings.steps));
  const stack = model?.kind === 'stack' || (model?.kind === 'url' && model.upsampler);
  // Earlier versions kept none.
  if (stack && settings.enlarge) values.set('enlarge', String(settings.enlarge));
  values.set('sampler', settings.sampler);
  if (takesEta(settings.sampler) && settings.eta > 0) values.set('eta', String(settings.eta));
  values.set('guidance', String(settings.guidance));
  values.set('seed', String(settings.seed));
  if (settings.first > 0) values.set('first', String(settings.first));
  return `#${values}`;
}
