/** How to sample. Written from the Rust types by src/typescript.rs; not to be edited. */

/** The samplers: name, what it is, the processes that it samples from, how many steps it makes of each by default, and the settings of `Settings` that it takes and not all do. */
export const samplers = [
  { name: "ancestral", summary: "draws from the learned posterior at each step (DDPM)", kinds: ["discrete","edm","consistency"], steps: { discrete: 250, edm: 40, consistency: 40 }, options: ["strength"] },
  { name: "ddim", summary: "along the predicted noise; deterministic at eta 0 (DDIM)", kinds: ["discrete"], steps: { discrete: 25 }, options: ["strength","eta"] },
  { name: "dpm++2m", summary: "DPM-Solver++ multistep of order 2: one evaluation per step", kinds: ["discrete"], steps: { discrete: 20 }, options: ["strength"] },
  { name: "dpm++3m", summary: "DPM-Solver++ multistep of order 3: one evaluation per step", kinds: ["discrete"], steps: { discrete: 20 }, options: ["strength"] },
  { name: "ipndm", summary: "Adams-Bashforth steps of order up to 4 in sigma-space: one evaluation per step", kinds: ["discrete","edm","consistency"], steps: { discrete: 10, edm: 10, consistency: 10 }, options: ["strength","analytic_start","denoise"] },
  { name: "euler", summary: "Euler steps in sigma-space: one evaluation per step", kinds: ["discrete","edm","consistency"], steps: { discrete: 18, edm: 18, consistency: 18 }, options: ["strength","churn"] },
  { name: "euler_ancestral", summary: "Euler steps in sigma-space with fresh noise after each", kinds: ["discrete"], steps: { discrete: 25 }, options: ["strength"] },
  { name: "heun", summary: "EDM's second-order steps in sigma-space: two evaluations per step", kinds: ["discrete","edm","consistency"], steps: { discrete: 18, edm: 18, consistency: 18 }, options: ["strength","churn"] },
  { name: "dpm", summary: "DPM-Solver-2 in sigma-space: two evaluations per step, the second at the midpoint", kinds: ["discrete","edm","consistency"], steps: { discrete: 18, edm: 18, consistency: 18 }, options: ["strength","churn"] },
  { name: "onestep", summary: "a consistency model's image in one evaluation", kinds: ["consistency"], steps: { consistency: 40 }, options: ["optional_edit","colourise","upscale"] },
  { name: "multistep", summary: "a consistency model's image in a few evaluations, with fresh noise between them", kinds: ["consistency"], steps: { consistency: 40 }, options: ["optional_edit","colourise","upscale","at"] },
] as const;

export type SamplerName = (typeof samplers)[number]['name'];

/** Samplers that only begin with a given picture: two that edit it, and one that takes it to noise. */
export type EditorName = "repaint" | "ddnm" | "invert";

/** What is known of the picture that an edit is given. */
export type EditSettings = { 
/**
 * The pixels that a mask names; the others are made.
 */
mask?: boolean, 
/**
 * A mix of the channels; the colours are made.
 */
colourise?: 'grey' | 'luma', 
/**
 * The means of blocks of so many by so many pixels; the picture is enlarged so many times.
 */
upscale?: number, };

/** How to sample; what is left out takes the model's default. */
export type Settings = { 
/**
 * The sampler.
 */
sampler?: SamplerName | EditorName, 
/**
 * Steps: a count (`250`), counts per section (`10,20,30`) or a fixed stride (`ddim25`).
 */
steps?: string | number, 
/**
 * Randomness of DDIM: 0 is deterministic (default), 1 as random as the ancestral sampler.
 */
eta?: number, 
/**
 * Clip the predicted x_0 to `[-1, 1]` at each step (default), as the public scripts do.
 */
clipDenoised?: boolean, 
/**
 * Seed of all noise. JSON may have it in decimal digits, since JavaScript's numbers end at 2^53.
 */
seed: string, 
/**
 * Scale of the guidance: of the classifier's gradient, for a model with a guidance classifier (default: a public file's
 * published one, else 1); else classifier-free, for a model with a null class (default: none, as with 1).
 */
guidance?: number, 
/**
 * Guide only at these timesteps of the full process, both included (default: all); the classifier is not run at
 * others.
 */
guidanceInterval?: [number, number], 
/**
 * Image to image: the share of the steps, above 0 to 1, that is made from the noised given image.
 */
strength?: number, 
/**
 * A time grid in place of `steps`, descending: timesteps of the full process, or noise levels of sigma-space where the
 * model was trained there. Empty: the sampler's own times for `steps`, also where the file has a grid or a
 * `few_step`.
 */
grid?: Array<number>, 
/**
 * EDM's churn: noise added before each step of sigma-space, 0 (default) for none.
 */
churn?: number, 
/**
 * The lowest noise level that is churned (default 0).
 */
churnMin?: number, 
/**
 * The highest noise level that is churned (default: no bound).
 */
churnMax?: number, 
/**
 * Standard deviation of churned noise (default 1).
 */
churnNoise?: number, 
/**
 * iPNDM: the first slope without an evaluation.
 */
analyticStart?: boolean, 
/**
 * iPNDM: a last evaluation that removes the noise left at the lowest level.
 */
denoise?: boolean, 
/**
 * A consistency model's levels: places on the grid of `steps` levels, ascending, the last one included
 * (default of `multistep`: 0, 22, 39 of 40).
 */
at?: Array<number>, 
/**
 * Edits: steps of one jump back up (default 10 for RePaint, 1 for DDNM).
 */
jumpLength?: number, 
/**
 * Edits: how often each part of the walk is made (default 10 for RePaint, 1 for DDNM).
 */
jumpRepeats?: number, 
/**
 * DDNM: standard deviation of the noise in the known image (default 0).
 */
sigmaY?: number, 
/**
 * Dynamic thresholding (Saharia et al. 2022): divide the predicted x_0 by the 0.995 quantile of its absolute values per
 * image where that is above 1.
 */
threshold?: boolean, 
/**
 * An edit of a given picture: what is known of it. The rest is made.
 */
edit?: EditSettings, 
/**
 * Width and height of the images, for which a model was loaded (default: the model's own).
 */
size?: [number, number], };
