/** The two-stage stack of the paper: a model makes small images, an upsampler enlarges them. */
import { aborted } from './errors.js';
import type { Model } from './model.js';
import { check } from './options.js';
import { SamplingRun } from './run.js';
import type { GeneratedImage, Run, SampleOptions, Step } from './types.js';

/** The model's options, and what the upsampler has of its own. */
export interface StackOptions extends SampleOptions {
  /** The upsampler's own options. Its seed is the model's plus one by default, as for the command line. */
  upsampler?: Pick<SampleOptions, 'sampler' | 'steps' | 'eta' | 'seed' | 'previewEvery'>;
}

/** A step of a stack. */
export interface StackStep extends Step {
  /** 0: the model; 1: the upsampler. */
  stage: 0 | 1;
}

/** A run of both stages; `images` are the enlarged ones. */
export interface StackRun extends Run, AsyncIterable<StackStep> {
  /** All enlarged images, in order. */
  readonly result: Promise<GeneratedImage[]>;
  /** The small images, whatever becomes of the enlarged ones. */
  readonly small: Promise<GeneratedImage[]>;
  /** The steps of both stages, one after the other. */
  [Symbol.asyncIterator](): AsyncIterator<StackStep>;
}

/** Makes images by `model` and enlarges them by `upsampler`; classes and indices travel with them. */
export function sampleStack(model: Model, upsampler: Model, options: StackOptions = {}): StackRun {
  const { upsampler: own, ...first } = options;
  const small = begin(model, first, own);
  const { seed } = small;
  const next = { signal: first.signal, previewEvery: first.previewEvery, seed: BigInt.asUintN(64, seed + 1n), ...own };
  let cancelled = false;
  let current: Run = small;
  let enlarged: Run | null = null;
  const large = small.result.then((images) => {
    if (cancelled) throw aborted();
    return (current = enlarged = upsampler.upsample(images, next));
  });
  const result = large.then((run) => run.result);
  // The iterator throws failures too; code that awaits only the iterator must not get a second, unhandled one.
  result.catch(() => undefined);
  return {
    result,
    small: small.result,
    seed,
    get images() {
      return enlarged?.images ?? [];
    },
    cancel() {
      cancelled = true;
      current.cancel();
    },
    async *[Symbol.asyncIterator](): AsyncGenerator<StackStep, void, undefined> {
      for await (const step of small) yield { ...step, stage: 0 };
      const run = await large.catch((error: unknown) => {
        if (cancelled || first.signal?.aborted) return null;
        throw error;
      });
      if (run) for await (const step of run) yield { ...step, stage: 1 };
    },
  };
}

/** The first stage; wrong options of the second one are found before it is made. */
function begin(model: Model, options: SampleOptions, upsampler: StackOptions['upsampler'] = {}): Run {
  try {
    check('sample', upsampler, 'upsampler');
    return model.sample(options);
  } catch (error) {
    return new SamplingRun(0n, () => Promise.reject(error));
  }
}
