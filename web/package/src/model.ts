/** A model on the GPU. */
import type { Client } from './client.js';
import { asyncDispose } from './dispose.js';
import { labelOf } from './classes.js';
import { checked, GuidedDiffusionError } from './errors.js';
import { Image } from './image.js';
import { check } from './options.js';
import type { RawInput, RawPicture, RawSampleOptions } from './protocol.js';
import { SamplingRun } from './run.js';
import { seedOf } from './seed.js';
import type { Bits, BitsOptions, GeneratedImage, ModelInfo, Run, SampleOptions, TuneOptions, TuneResult } from './types.js';

/** What an upsampler enlarges. */
export type InputImage = GeneratedImage | ImageData;

/** Makes a model, which only `GuidedDiffusion.load` does. */
export let modelOf: (client: Client, handle: number, info: ModelInfo) => Model;

/** A model on the GPU, as `GuidedDiffusion.load` gives it. */
export class Model {
  #client: Client;
  #handle: number;

  static {
    modelOf = (...given) => new Model(...given);
  }

  private constructor(
    client: Client,
    handle: number,
    /** What the model is, and what it was loaded for. */
    readonly info: ModelInfo,
  ) {
    this.#client = client;
    this.#handle = handle;
  }

  /** Makes images from noise. The run's result rejects with `bad-options`, `out-of-memory` or `device-lost`. */
  sample(options: SampleOptions = {}): Run {
    return this.#run(options, () => ({ input: null, firstIndex: 0 }));
  }

  /** Enlarges images: image k is made from number k of them, as often around as `count` asks. It fails as `sample` does. */
  upsample(images: InputImage[], options: SampleOptions = {}): Run {
    return this.#run(options, () => inputOf(images));
  }

  /**
   * Bits per dimension of a picture, the bound on its negative log likelihood (Nichol & Dhariwal 2021; the public
   * scripts/image_nll.py), of a model of a discrete process: one network evaluation per step. Fails as `sample` does.
   */
  async bitsPerDimension(image: InputImage, options: BitsOptions = {}): Promise<Bits> {
    check('bits', options, 'bitsPerDimension');
    const { class: asked, steps, seed, fit, signal, onStep } = options;
    const picture = pictureOf(image, 'image');
    const own = 'label' in image ? image.label : null;
    const label = asked === undefined ? own : labelOf(asked, this.info);
    const settings = { sampler: 'ancestral' as const, steps: String(steps ?? this.info.diffusionSteps), seed: String(seedOf(seed ?? 0)) };
    const take = { handle: this.#handle, picture, label, fit: fit ?? null, settings };
    return this.#client.call('bits', take, {
      signal,
      onEvent: (event) => {
        if (event.kind === 'step') onStep?.(event.step, event.steps);
      },
    });
  }

  /**
   * Measures which kernels are fastest on this GPU and keeps the result in the browser: models that are loaded from then on
   * use it, this one after it is loaded again. Other kernels round otherwise: the same seed's image may differ by a level of
   * 255 here and there. Fails with `bad-options`, `out-of-memory` or `device-lost`.
   */
  async tune(options: TuneOptions = {}): Promise<TuneResult> {
    check('tune', options, 'tune');
    const { budgetMs, signal, onProgress } = options;
    const take = { handle: this.#handle, budgetMs: budgetMs ?? null };
    return this.#client.call('tune', take, {
      signal,
      onEvent: (event) => {
        if (event.kind === 'tuning') onProgress?.(event.progress);
      },
    });
  }

  /** Frees its GPU memory, once its runs are over; runs under way are stopped. */
  async dispose(): Promise<void> {
    await this.#client.call('disposeModel', { handle: this.#handle });
  }

  /** `dispose`, for `await using`. */
  [asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** What is wrong with the options is what the run's result rejects with. */
  #run(options: SampleOptions, given: () => Input): Run {
    let seed = 0n;
    try {
      check('sample', options, 'sample');
      seed = seedOf(options.seed);
      const { input, firstIndex } = checked('images', given);
      const take = { handle: this.#handle, options: this.#raw(options, seed, firstIndex), input };
      return new SamplingRun(seed, (signal, onEvent) => this.#client.call('sample', take, { signal, onEvent }), options.signal);
    } catch (error) {
      return new SamplingRun(seed, () => Promise.reject(error));
    }
  }

  #raw(options: SampleOptions, seed: bigint, first: number): RawSampleOptions {
    const { signal: _, noise, init, mask, fit, count, classes, previewEvery, inside, firstIndex, steps: wanted, ...settings } = options;
    if (mask && !init) throw new GuidedDiffusionError('bad-options', 'mask: give init too, the picture that is kept where it is 255');
    const steps = typeof wanted === 'number' ? respacing(wanted, settings.sampler, this.info.diffusionSteps) : wanted;
    return {
      noise: noise ?? null,
      init: init ? pictureOf(init) : null,
      mask: mask ? maskOf(mask) : null,
      fit: fit ?? null,
      count,
      classes: classes?.map((one) => labelOf(one, this.info)),
      firstIndex: firstIndex ?? first,
      previewEvery: previewEvery ?? 0,
      inside: inside ?? false,
      settings: { ...settings, steps, seed: String(seed) },
    };
  }
}

/** What an upsampler is given, and the index of its first image. */
interface Input {
  input: RawInput[] | null;
  firstIndex: number;
}

function inputOf(images: InputImage[]): Input {
  const first = images[0] instanceof Image ? images[0].index : null;
  // An image's noise goes by its index. Images in a row keep theirs, so that a stack makes what its command makes.
  const inRow = first !== null && images.every((image, k) => image instanceof Image && image.index === first + k);
  const input = images.map((image, k): RawInput => {
    const { width, height, data } = pictureOf(image, `image ${k}`);
    const own = image instanceof Image && inRow;
    const label = 'label' in image ? image.label : null;
    return { width, height, rgba: data as Uint8ClampedArray, label, recipe: own ? image.recipe : null };
  });
  return { input, firstIndex: inRow ? first : 0 };
}

function pictureOf(image: InputImage, name = 'init'): RawPicture {
  if (!(image instanceof ImageData) && typeof image?.toImageData !== 'function') {
    const advice = 'a canvas’s is context.getImageData(0, 0, width, height)';
    throw new GuidedDiffusionError('bad-options', `${name}: give a generated image or ImageData; ${advice}`);
  }
  const { width, height, data } = image instanceof ImageData ? image : image.toImageData();
  return { width, height, data: data as Uint8ClampedArray };
}

function maskOf({ width, height, data }: NonNullable<SampleOptions['mask']>): RawPicture {
  const bytes = data instanceof Uint8Array || data instanceof Uint8ClampedArray;
  if (!bytes || data.length !== width * height) {
    const have = bytes ? `${data.length} bytes` : 'other data';
    const want = 'give { width, height, data } with data as a Uint8Array of one byte per pixel';
    throw new GuidedDiffusionError('bad-options', `mask: ${have} for ${width}x${height} pixels; ${want}`);
  }
  return { width, height, data };
}

/**
 * DDIM gets steps at a fixed stride, as the paper's 25. Steps in sections would begin at the process's last timestep, where
 * guidance is divided by almost nothing under a cosine schedule.
 */
function respacing(steps: number, sampler: SampleOptions['sampler'], all: number): string {
  if (sampler !== 'ddim' || !(steps > 0 && steps <= all)) return String(steps);
  return `ddim${strideSteps(steps, all)}`;
}

/** The nearest number of DDIM steps at a fixed stride through `all` timesteps that is not larger than `steps`. */
export function strideSteps(steps: number, all: number): number {
  return Math.ceil(all / Math.ceil(all / steps));
}
