/** What Generate and its relatives make: cells, each an image with settings of its own, and the runs that fill them. */
import type { ModelInfo } from 'guided-diffusion';
import type { ModelChoice } from './models.js';
import { type LinkedModel, type Settings, type Usual, aboutSampler, stepsOf, takesEta, takesStrength, titleOf, usualSteps } from './settings.js';

/** Guidance scales that are compared; at 0 nothing guides. */
const GUIDANCES = [0, 1, 2, 4, 8];
/** Numbers of steps that are compared: by most samplers, and by a consistency model's own. */
const STEPS = [4, 8, 16, 25];
const FEW_STEPS = [1, 2, 4, 8];

/** Images of a walk that are made at once. */
export const MORPH = 8;

/** What is known of a model, for captions and fields. */
export type Facts = Pick<ModelInfo, 'classes' | 'classNames' | 'guided' | 'diffusionSteps' | 'process'> & {
  usual: Usual;
  /** Whether a classifier guides it; earlier versions did not keep that. */
  classifier?: boolean;
  /** Of a stack, its second stage. */
  upsampler?: { usual: Usual; diffusionSteps: number };
};

/** A place for one image. */
interface Cell {
  settings: Settings;
  /** The image's index; with the seed it names the noise. */
  index: number;
  label: number | null;
  /** What is printed beneath it. */
  name: string;
}

/** Cells that one run of the sampler fills. */
interface Part {
  settings: Settings;
  cells: number[];
}

/** A picture that images begin with. */
export interface Given {
  init: ImageData;
  /** 255 where the picture stays as it is, 0 where it is made; null: all of it is varied. */
  mask: { width: number; height: number; data: Uint8Array } | null;
  /** How much of the process is made anew, 0 to 1. */
  strength: number;
}

export interface Job {
  /** `live`: as images, but made anew while settings change, and not kept. */
  kind: 'images' | 'live' | 'guidance' | 'steps' | 'morph' | 'draw';
  given?: Given;
  settings: Settings;
  cells: Cell[];
  parts: Part[];
  facts: Facts;
  modelName: string;
  /** null for a model from a file, which a link cannot name. */
  model: LinkedModel | null;
  /** The model itself, as long as the page is open. */
  choice: ModelChoice | null;
}

export function nameOf(facts: Facts, label: number | null): string {
  return label === null ? '' : (facts.classNames[label] ?? `Class ${label}`);
}

/** The job of one kind for these settings. */
export function jobOf(kind: Job['kind'], asked: Settings, facts: Facts, choice: ModelChoice, given?: Given): Job {
  const settings = given ? suited(asked, given, facts) : asked;
  const common = { kind, ...(given && { given }), settings, facts, modelName: choice.name, model: choice.linked, choice };
  const labelOf = (index: number) => (facts.classes === 0 ? null : (settings.label ?? index % facts.classes));
  if (kind === 'images' || kind === 'live' || kind === 'draw') {
    const cells = Array.from({ length: settings.count }, (_, k): Cell => {
      const index = settings.first + k;
      const label = labelOf(index);
      return { settings: single(settings, index, label), index, label, name: nameOf(facts, label) };
    });
    return { ...common, cells, parts: [{ settings, cells: cells.map((_, at) => at) }] };
  }
  const index = settings.first;
  const label = labelOf(index);
  const own = single(settings, index, label);
  if (kind === 'morph') {
    // One frame, which walks; where the walk ends is its image.
    return { ...common, cells: [{ settings: own, index, label, name: 'Morph' }], parts: [{ settings: { ...settings, count: MORPH }, cells: [0] }] };
  }
  const few = own.sampler === 'onestep' || own.sampler === 'multistep';
  const cells = (kind === 'guidance' ? GUIDANCES : few ? FEW_STEPS : STEPS).map((value): Cell => {
    if (kind === 'guidance') return { settings: { ...own, guidance: value }, index, label, name: `Guidance ${value}` };
    const sampler = few ? (value === 1 ? 'onestep' : 'multistep') : own.sampler;
    const steps = stepsOf(value, sampler, facts.diffusionSteps);
    return { settings: { ...own, sampler, steps }, index, label, name: inSteps(steps) };
  });
  return { ...common, cells, parts: cells.map((cell, at) => ({ settings: cell.settings, cells: [at] })) };
}

/** The job of what is not `done` yet, by place; a run makes its images in order, so that those of a part that are left are in a row. */
export function restOf(job: Job, done: ReadonlySet<number>): Job {
  const left = job.cells.flatMap((_, at) => (done.has(at) ? [] : [at]));
  if (job.kind === 'morph' || left.length === 0 || left.length === job.cells.length) return job;
  const parts = job.parts.flatMap(({ settings, cells }): Part[] => {
    const own = cells.filter((at) => !done.has(at));
    const first = job.cells[own[0] ?? -1]?.index;
    return first === undefined ? [] : [{ settings: { ...settings, first, count: own.length }, cells: own.map((at) => left.indexOf(at)) }];
  });
  const whole = job.parts.length === 1 ? parts[0]?.settings : null;
  return { ...job, settings: whole ?? job.settings, cells: left.flatMap((at) => job.cells[at] ?? []), parts };
}

const inSteps = (steps: number, sampler = '') => `${steps} ${sampler}${steps === 1 ? 'step' : 'steps'}`;

/** The steps of a stack's second stage; null without one. Earlier versions kept no number of one's own. */
const enlargingSteps = ({ enlarge }: Settings, { upsampler }: Facts): number | null => (upsampler ? (enlarge ?? upsampler.usual.steps) : null);

/** The same in words. */
function enlarging(settings: Settings, facts: Facts): string {
  const steps = enlargingSteps(settings, facts);
  return steps === null ? '' : `, enlarged in ${steps}`;
}

/** The steps that an image's trail is of: of a stack, the second stage's, if it came to that. */
export const trailSteps = ({ facts, cells }: Job, at: number, small = false): number => {
  const settings = cells[at]?.settings;
  return settings ? ((!small && enlargingSteps(settings, facts)) || settings.steps) : 0;
};

/** What a picture is varied or mended by: few steps are too few for that, and not every sampler does it. */
function suited(settings: Settings, { mask }: Given, { process }: Facts): Settings {
  if (mask) return settings.sampler === 'onestep' ? settings : { ...settings, steps: Math.max(settings.steps, usualSteps('ddim')) };
  return takesStrength(settings.sampler) ? settings : { ...settings, sampler: 'euler', steps: usualSteps('euler', process) };
}

/** Whether a marked picture is mended by a sampler of its own, DDNM; a consistency model does it by its usual one. */
const mendsBy = (given: Given | undefined, { process }: Facts) => Boolean(given?.mask) && process !== 'consistency';

/** Settings that make one image of a run again. */
function single(settings: Settings, index: number, label: number | null): Settings {
  return { ...settings, count: 1, first: index, label };
}

/** One line about a job, as it is printed on a sheet's edge. */
export function caption({ kind, given, settings, facts, cells }: Job): string {
  const { label, steps, sampler, eta, guidance, seed, first } = settings;
  const compared = kind === 'guidance' || kind === 'steps';
  const mends = mendsBy(given, facts);
  const what = compared ? nameOf(facts, cells[0]?.label ?? null) : label === null ? 'All classes' : nameOf(facts, label);
  const parts = [
    ...(facts.classes > 0 ? [what] : []),
    ...(kind === 'steps' ? [] : [inSteps(steps, `${mends ? 'DDNM' : titleOf(sampler)} `) + enlarging(settings, facts)]),
    ...(!mends && takesEta(sampler) && eta > 0 ? [`eta ${eta}`] : []),
    ...(facts.guided && kind !== 'guidance' ? [`guidance ${guidance}`] : []),
    `seed ${seed}`,
    ...(first > 0 ? [`image ${first + 1}`] : []),
    ...(kind === 'morph' ? ['a walk'] : compared ? [`${kind} compared`] : []),
    ...(given ? [given.mask ? 'mended where marked' : `drawn, strength ${given.strength}`] : []),
  ];
  return parts.join(', ');
}

/** How a cell's sampler works. */
export function aboutSamplerOf({ given, facts, cells }: Job, at: number): string {
  const { sampler } = cells[at]?.settings ?? {};
  if (mendsBy(given, facts)) return 'Each step puts what is not marked back into the predicted image.';
  return sampler ? aboutSampler(sampler) : '';
}

/** What a cell's image was made with, in terms and texts. */
export function factsOf(job: Job, at: number): Record<string, string> {
  const cell = job.cells[at];
  if (!cell) return {};
  const { steps, sampler, eta, guidance, seed } = cell.settings;
  return {
    ...(job.facts.classes > 0 && ['guidance', 'steps'].includes(job.kind) && { Class: nameOf(job.facts, cell.label) }),
    Image: job.cells.length > 1 ? `${at + 1} of ${job.cells.length}` : 'the only one',
    Model: job.modelName,
    Seed: cell.index > 0 ? `${seed}, image ${cell.index + 1}` : String(seed),
    Steps: steps + enlarging(cell.settings, job.facts),
    Sampler: mendsBy(job.given, job.facts) ? 'DDNM' : takesEta(sampler) ? `${titleOf(sampler)}, eta ${eta}` : titleOf(sampler),
    ...(job.facts.guided && { Guidance: String(guidance) }),
    ...(job.given && !job.given.mask && { Strength: String(job.given.strength) }),
  };
}
