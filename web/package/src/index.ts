/** Guided diffusion on the visitor's GPU. */
export { browsers, type Browser } from './browsers.js';
export { GuidedDiffusion } from './engine.js';
export { GuidedDiffusionError } from './errors.js';
export { Model, strideSteps, type InputImage } from './model.js';
export { samplers, type EditorName, type EditSettings, type SamplerName, type Settings } from './generated/settings.js';
export { fileName } from './names.js';
export { interpolateNoise, seedNoise } from './noise.js';
export { randomSeed } from './seed.js';
export { sampleStack, type StackOptions, type StackRun, type StackStep } from './stack.js';
export type * from './types.js';
