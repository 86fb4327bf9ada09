/**
 * The public interface of the package, in one place: what a page may ask for and what it gets.
 *
 * All work happens in a worker; everything here is plain data or a thin handle on the main thread.
 */

import type { SamplerName, Settings } from './generated/settings.js';

/** Where a model's file comes from: .safetensors, or a .pt file as a Blob, such as a dropped `File`. A string is a URL. */
export type ModelSource = string | URL | Blob | Response;

/** What a load has done so far. */
export interface LoadProgress {
  /** Bytes read, of all files of the load. */
  loaded: number;
  /** All bytes; null until each file’s length is known: from its server, or else from its first bytes. */
  total: number | null;
  /** `network`, `cache` or `file`: where the present bytes come from; `device` while kernels are compiled. */
  from: 'network' | 'cache' | 'file' | 'device';
  /** Each file by itself. */
  files: FileProgress[];
  /** Kernels that are compiled, of those that are known to be needed: more may be, to check them. null until compiling begins. */
  kernels: { done: number; total: number } | null;
}

/** What was read of one file. */
export interface FileProgress {
  /** Which of the files. */
  role: 'model' | 'classifier';
  /** The file's, as its address or the disk has it. */
  name: string;
  /** Bytes read. */
  loaded: number;
  /** All bytes; null until their number is known. */
  total: number | null;
}

/** How a GPU is opened. */
export interface EngineOptions {
  /** Which adapter, where there are several. */
  powerPreference?: 'high-performance' | 'low-power';
  /** Where the worker's script is, if a bundler moved it. */
  workerUrl?: string | URL;
  /** Where the wasm file is, if a bundler moved it. */
  wasmUrl?: string | URL;
  /** Stops the start; it rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** The GPU as the browser shows it. */
export interface AdapterInfo {
  /** The adapter's name as the browser reports it; often only its vendor and architecture. */
  name: string;
  /** Largest buffer, in bytes. */
  maxBufferSize: number;
  /** Largest buffer a shader can see, in bytes. */
  maxBindingSize: number;
}

/** How a model is loaded. */
export interface LoadOptions {
  /** A noisy-image classifier, for guidance. */
  classifier?: ModelSource;
  /** Images that are computed at once; more use more memory. Default 1. */
  batch?: number;
  /**
   * How weights are kept on the GPU: `f16-weights` halves their memory; `f16` multiplies in float16 too, on devices with the
   * feature shader-f16 (on others `load` fails with code `bad-options`). Default: as the file stores them, and float32 arithmetic.
   */
  precision?: 'f32' | 'f16-weights' | 'f16';
  /** Keep the file in the browser's cache (URLs only). Default true. */
  cache?: boolean;
  /** The model file's expected SHA-256 as hex: other content is refused. */
  sha256?: string;
  /**
   * Headers of the requests for URLs, such as the `Authorization` of a gated model. They go to the model's origin only (where the model
   * is no URL, to the classifier's); where a server redirects, the browser keeps `Authorization` from other origins, but no other header.
   */
  headers?: HeadersInit;
  /**
   * Makes the requests for URLs instead of the browser's own `fetch`. It is called on the main thread with headers that may
   * hold `range` and `if-range`; a response may ignore those.
   */
  fetch?: (url: string, init: { headers: Headers; signal: AbortSignal }) => Promise<Response>;
  /** The side of an upsampler's input in pixels. Default: what the file says, else a quarter of its output's. */
  lowResolution?: number;
  /** Width and height of the images, multiples of what the model's levels divide by. Default: the model's own. */
  size?: [number, number];
  /** Flags of the public scripts for files that do not describe themselves: `--image_size 256 --num_channels 256 ...`. */
  flags?: string;
  /** Stops the load; it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Is called whenever what it says has changed. */
  onProgress?: (progress: LoadProgress) => void;
}

/** What a loaded model is. */
export interface ModelInfo {
  /** `diffusion` or `upsampler`. */
  role: 'diffusion' | 'upsampler';
  /** Side of the images that it was trained on, in pixels. */
  imageSize: number;
  /** Width of the images that it makes, in pixels. */
  width: number;
  /** Height of the images that it makes, in pixels. */
  height: number;
  /** 1 (grey) or 3 (RGB). */
  channels: number;
  /** Side of an upsampler's input; null for others. */
  lowResolution: number | null;
  /** Number of classes; 0 for an unconditional model without a classifier. */
  classes: number;
  /** Their names; empty where the file does not say. */
  classNames: string[];
  /**
   * The class that stands for none in particular; null without one. With it and without a classifier, `guidance` is
   * classifier-free: 1 is plain, others take two evaluations per step.
   */
  nullClass: number | null;
  /** Whether a classifier was loaded with it. */
  guided: boolean;
  /** Images that are computed at once. */
  batch: number;
  /** What it was trained on: a `discrete` process of so many steps, or noise levels, as of `edm` or as a `consistency` model. */
  process: 'discrete' | 'edm' | 'consistency';
  /** Steps of the full diffusion process. */
  diffusionSteps: number;
  /** What `sample` does where it is asked for neither a sampler nor steps nor guidance; a guidance of null is none. */
  defaults: { sampler: SamplerName; steps: string; guidance: number | null };
  /** The files' SHA-256 as hex, by role. */
  sha256: { model: string; classifier?: string };
  /** Whether each file is kept in the browser, so that the next load needs no network. */
  kept: { model: boolean; classifier?: boolean };
  /** Bytes on the GPU: weights and everything else. */
  gpuBytes: number;
  /** Kinds of kernel that an earlier `tune` has replaced by ones that are faster here. */
  tuned: number;
  /** What the start-up self-test found wrong with this driver and replaced. */
  warnings: string[];
}

/**
 * What to sample and how. Without a sampler a discrete process takes dpm++2m, or ddim where a classifier guides; ancestral from
 * 50 steps on. Without steps as well: the fewest that the file has a grid for, else 20; ddim25 where a classifier guides. A
 * number of steps is for ddim the nearest count at a fixed stride that is not larger. Models of noise levels take heun (`edm`)
 * or multistep (`consistency`), files with a `few_step` what that says.
 */
export interface SampleOptions extends Omit<Settings, 'seed'> {
  /** Images wanted. Default: as many as `classes`, or 1. */
  count?: number;
  /** Classes that the images take in turn, image k number k of them, cycled. Default: all classes. */
  classes?: (number | string)[];
  /** Seed of the noise, an unsigned 64-bit integer. Default: random. */
  seed?: bigint | number;
  /**
   * What images begin with in place of the seed's noise: standard normal values, image after image, each height x width x
   * channels. `seedNoise` gives a seed's.
   */
  noise?: Float32Array;
  /**
   * A picture, opaque, of the model's size: varied with a `strength`, the given part of an `edit` (that many times smaller where
   * it is upscaled), or what the sampler `invert` takes to noise.
   */
  init?: ImageData | GeneratedImage;
  /** An edit's mask, one byte per pixel: 255 where the picture is kept, 0 where it is made. */
  mask?: { width: number; height: number; data: Uint8Array | Uint8ClampedArray };
  /** Brings a picture (and its mask) of another size to the model's; refused without it. What `pad` adds to an edit is made. */
  fit?: 'crop' | 'pad';
  /** Steps between previews of the predicted x_0; 0 (default) for none. */
  previewEvery?: number;
  /** Previews carry what their step worked with, too. Default false: it is more to read back from the GPU. */
  inside?: boolean;
  /** Index of the first image. Image k of a seed is the same in every run. Default 0. */
  firstIndex?: number;
  /** Stops the run; it rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** How bits per dimension are measured. */
export interface BitsOptions {
  /** The picture's class, of a class-conditional model, by number or name. Default: a generated image's own. */
  class?: number | string;
  /** Steps of the process, as a sampler's. Default: all, as published figures have; fewer give a far looser bound. */
  steps?: number | string;
  /** Seed of the noise. Default: 0. */
  seed?: bigint | number;
  /** Brings a picture of another size to the model's; refused without it. */
  fit?: 'crop' | 'pad';
  /** Stops it; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Called after each step, with the steps done and all steps. */
  onStep?: (step: number, steps: number) => void;
}

/** Bits per dimension of a picture: means over its values. Lists are by step, the noisiest first. */
export interface Bits {
  /** All of it: the sum of `vb`, and `prior`. */
  total: number;
  /** The part of the process's noisy end. */
  prior: number;
  /** The terms of the bound. */
  vb: number[];
  /** Mean squared error of the predicted x_0. */
  xstartMse: number[];
  /** Mean squared error of the predicted noise. */
  mse: number[];
}

/** One step of a run. */
export interface Step {
  /** Steps done of this batch, this one included. */
  step: number;
  /** Steps of a batch. */
  steps: number;
  /** Images finished before this batch. */
  imagesDone: number;
  /** Images of the whole run. */
  images: number;
  /** The predicted x_0 of this batch's images, where a preview was asked for. */
  previews: GeneratedImage[] | null;
}

/** What a step worked with, each as height x width x channels values. */
export interface Inside {
  /** The image after the step: x_t-1. */
  x: Float32Array;
  /** The noise that the network finds in x_t; null for a model that predicts the image itself. */
  noise: Float32Array | null;
  /** The gradient of the class's log-probability with respect to x_t, unscaled; null where no classifier guided the step. */
  gradient: Float32Array | null;
}

/** An image and what made it. */
export interface GeneratedImage {
  /** In pixels. */
  readonly width: number;
  /** In pixels. */
  readonly height: number;
  /** Its place in the run; with the seed it names the noise. */
  readonly index: number;
  /** Its class; null for an unconditional model. */
  readonly label: number | null;
  /** RGBA. */
  toImageData(): ImageData;
  /** The same, for a canvas or a texture. */
  toImageBitmap(): Promise<ImageBitmap>;
  /** A PNG that carries the parameters as text. */
  toBlob(): Promise<Blob>;
  /** The sampler's own values in [-1, 1], height x width x channels. */
  readonly values: Float32Array;
  /** Of a preview: the noise level sigma of the image before the step; of its values, the noise is sigma^2 / (1 + sigma^2). */
  readonly noiseLevel: number | null;
  /** Of a preview, where `inside` was asked for. */
  readonly inside: Inside | null;
  /** The parameters under the names that the command line's PNGs use. */
  readonly parameters: Record<string, string>;
}

/** A run: iterate it for its steps, await `result` for its images. */
export interface Run extends AsyncIterable<Step> {
  /** All images, in order. */
  readonly result: Promise<GeneratedImage[]>;
  /** The images that are finished so far, in order; they stay when the run is cancelled or fails. */
  readonly images: readonly GeneratedImage[];
  /** The seed of its noise, which may be a random one. */
  readonly seed: bigint;
  /** Stops after the step in flight; `result` rejects with an `AbortError`, the iterator ends. */
  cancel(): void;
}

/** How long kernels are measured. */
export interface TuneOptions {
  /** Milliseconds to spend. Default: as many as all of it takes. */
  budgetMs?: number;
  /** Stops it; what was measured by then is kept. */
  signal?: AbortSignal;
  /** Is called after each kind of kernel. */
  onProgress?: (progress: TuneProgress) => void;
}

/** Kinds of kernel: an operation with its sizes. */
export interface TuneProgress {
  /** Measured so far. */
  done: number;
  /** All that there are to measure. */
  total: number;
}

/** What measuring found. */
export interface TuneResult {
  /** Kinds of kernel that were measured now; those of earlier calls are known. */
  measured: number;
  /** How many of them have a faster kernel than the usual one. */
  changed: number;
  /** What the time did not reach. */
  left: number;
  /** Whether the browser keeps the result; without a place for it, nothing comes of it. */
  stored: boolean;
}

/** A file kept in the browser. */
export interface StoredModel {
  /** Its address, by which `deleteStored` finds it. */
  url: string;
  /** Empty where the file is not complete. */
  sha256: string;
  /** How much of it is stored. */
  bytes: number;
  /** False for a download that is under way, or was interrupted and will be resumed. */
  complete: boolean;
}

/** Room for stored files, as the browser reports it. */
export interface StorageRoom {
  /** Bytes that this origin uses; null where the browser does not say. */
  usage: number | null;
  /** Bytes that this origin may use; null where the browser does not say. */
  quota: number | null;
  /** Whether the browser deletes nothing of it by itself when room gets short. */
  persistent: boolean;
}

/** Why something failed; the message says what was expected and what to do. */
export type ErrorCode =
  | 'no-webgpu' // the browser has none
  | 'no-adapter' // no GPU that it may use
  | 'device-lost' // create a new engine; images already made are kept
  | 'out-of-memory'
  | 'too-large' // the model exceeds a limit of the adapter
  | 'bad-file' // not a model, damaged, or not the expected content
  | 'bad-options'
  | 'network' // offline, or the server refused
  | 'busy' // a stored file is in use; try again later
  | 'internal';
