/** The GPU and the model on it: opened, loaded, replaced and given back in one place. Nothing of the document. */
import {
  GuidedDiffusion,
  GuidedDiffusionError,
  type LoadProgress,
  type Model,
  type Run,
  type SampleOptions,
  sampleStack,
  type StackRun,
  type StoredModel,
  type TuneProgress,
  type TuneResult,
} from 'guided-diffusion';
import type { Facts } from './jobs.js';
import type { ModelChoice } from './models.js';
import { megabytes } from './plain.js';
import { OPENS_WITH, type Settings, stepOptions, takesEta, usualOf } from './settings.js';

/** Images at once where the visitor leaves it to us: all of a usual run, which a small network hardly notices. */
const AT_ONCE = 16;
/** Sides up to this count as small. Larger models get one image at a time, for their memory. */
const SMALL = 32;
/** Previews of a run's batch: as many as look like motion; each waits for the GPU. */
const PREVIEWS = 40;

export class Runner {
  private engine: Promise<GuidedDiffusion> | undefined;
  private loaded: { model: Model; upsampler: Model | null; choice: ModelChoice; adapter: string } | undefined;

  constructor(private readonly onLost: (error: unknown) => void) {}

  get model(): Model | undefined {
    return this.loaded?.model;
  }

  /** What captions and fields need to know. The class for none, the last one of a model that has it, is none to draw. */
  get facts(): Facts {
    const { info } = this.loaded?.model ?? {};
    if (!info) return { classes: 0, classNames: [], guided: false, diffusionSteps: 1000, process: 'discrete', usual: OPENS_WITH, classifier: false };
    const classes = info.classes - (info.nullClass === info.classes - 1 ? 1 : 0);
    const guided = info.guided || info.nullClass !== null;
    const { diffusionSteps, process } = info;
    const own = this.loaded?.upsampler?.info;
    return {
      classes,
      classNames: info.classNames.slice(0, classes),
      guided,
      classifier: info.guided,
      diffusionSteps,
      process,
      usual: usualOf(info),
      ...(own && { upsampler: { usual: usualOf(own), diffusionSteps: own.diffusionSteps } }),
    };
  }

  get choice(): ModelChoice | undefined {
    return this.loaded?.choice;
  }

  get adapterName(): string {
    return this.loaded?.adapter || 'this GPU';
  }

  /** Loads a model for runs of `count` images. The one before stays in use if that fails. */
  async load(choice: ModelChoice, count: number, signal: AbortSignal, onProgress: (p: LoadProgress) => void): Promise<Model> {
    const engine = await unless(signal, this.open());
    // A new file's image size is not known before it is loaded.
    const small = isOurs(choice) || (this.choice?.source === choice.source && this.isSmall());
    const batch = choice.batch || (small ? this.batchFor(count) : 1);
    const how = { ...choice.options, batch, signal, onProgress };
    const load = async () => {
      const model = await engine.load(choice.source, how);
      try {
        if (model.info.role !== 'diffusion') {
          const advice = 'choose it as the upsampler of a model that makes such images';
          throw new GuidedDiffusionError('bad-options', `${choice.name} enlarges images, and makes none by itself: ${advice}.`);
        }
        if (!choice.upsampler) return { model, upsampler: null };
        const { classifier: _, ...rest } = how;
        const upsampler = await engine.load(choice.upsampler, { ...rest, lowResolution: model.info.imageSize });
        return { model, upsampler };
      } catch (error) {
        void model.dispose().catch(() => undefined);
        throw error;
      }
    };
    const models = await load().catch((error: unknown) => {
      // Both models together may be what is too much.
      const full = error instanceof GuidedDiffusionError && error.code === 'out-of-memory';
      if (!full || !this.loaded) throw error;
      this.release();
      return load();
    });
    this.release();
    this.loaded = { ...models, choice, adapter: engine.adapter.name };
    return models.model;
  }

  /** Whether a run of `count` images wants the same model with room for another number at once. */
  fits(count: number): boolean {
    if (!this.loaded) return false;
    const { model, choice } = this.loaded;
    if (choice.batch || !this.isSmall()) return true;
    const { batch } = model.info;
    const computed = Math.ceil(count / batch) * batch;
    return evenBatch(count) <= batch && computed <= 2 * count;
  }

  /** Images at once that a run of `count` wants. */
  batchFor(count: number): number {
    return evenBatch(count);
  }

  /** `given`: further options of the run. */
  sample(settings: Settings, signal: AbortSignal, given: Pick<SampleOptions, 'noise' | 'classes' | 'previewEvery' | 'inside' | 'init' | 'mask' | 'strength'> = {}): Run | StackRun {
    if (!this.loaded) throw new Error('no model is loaded');
    const { model, upsampler } = this.loaded;
    const { classes, guided, usual, process, upsampler: second } = this.facts;
    const { sampler, steps } = settings;
    const eta = takesEta(sampler) && { eta: settings.eta };
    const options: SampleOptions = {
      ...stepOptions(settings, usual),
      count: settings.count,
      seed: settings.seed,
      firstIndex: settings.first,
      previewEvery: Math.ceil(steps / PREVIEWS),
      signal,
      ...(!given.mask && eta),
      ...(guided && { guidance: settings.guidance }),
      ...(classes > 0 && { classes: settings.label !== null ? [settings.label] : Array.from({ length: classes }, (_, k) => k) }),
      ...given,
    };
    // An edit has a sampler of its own, but for a consistency model's.
    if (given.mask && process !== 'consistency') {
      delete options.sampler;
      options.steps = steps;
    }
    if (!upsampler || !second) return model.sample(options);
    const enlarging = { ...stepOptions({ ...second.usual, steps: settings.enlarge }, second.usual), previewEvery: Math.ceil(settings.enlarge / PREVIEWS) };
    return sampleStack(model, upsampler, { ...options, upsampler: enlarging });
  }

  /** Side of the images in pixels. */
  get imageSize(): number {
    return (this.loaded?.upsampler ?? this.loaded?.model)?.info.imageSize ?? Infinity;
  }

  /** Models that an image goes through. */
  get stages(): number {
    return this.loaded?.upsampler ? 2 : 1;
  }

  get gpuBytes(): number {
    return (this.loaded?.model.info.gpuBytes ?? 0) + (this.loaded?.upsampler?.info.gpuBytes ?? 0);
  }

  /** Measures this GPU; the model that is loaded next uses what was found. */
  tune(signal: AbortSignal, onProgress: (progress: TuneProgress) => void): Promise<TuneResult> {
    if (!this.loaded) throw new Error('no model is loaded');
    return this.loaded.model.tune({ signal, onProgress });
  }

  async deleteTuning(): Promise<void> {
    return (await this.open()).deleteTuning();
  }

  async stored(): Promise<StoredModel[]> {
    return ((await this.opened()) ?? GuidedDiffusion).stored();
  }

  async deleteStored(url: string): Promise<void> {
    return ((await this.opened()) ?? GuidedDiffusion).deleteStored(url);
  }

  /** How much room the browser has for what is stored. */
  async room(): Promise<string> {
    const { usage = null, quota = null, persistent = false } = (await (await this.opened())?.storage()) ?? {};
    if (usage === null || quota === null) return '\u00a0';
    const kept = persistent ? ' The browser deletes nothing of it by itself.' : '';
    return `${megabytes(usage)} of ${megabytes(quota)} are used.${kept}`;
  }

  /** Gives the GPU back; the next load opens it again. */
  close(): void {
    const engine = this.engine;
    this.engine = undefined;
    this.loaded = undefined;
    engine?.then(
      (open) => open.dispose(),
      () => undefined, // there is nothing to give back
    );
  }

  private release(): void {
    // A model whose device is gone has nothing to free.
    for (const model of [this.loaded?.model, this.loaded?.upsampler]) model?.dispose().catch(() => undefined);
    this.loaded = undefined;
  }

  private isSmall(): boolean {
    return this.imageSize <= SMALL || (this.choice !== undefined && isOurs(this.choice));
  }

  /** The engine where one is open, or opens; what is stored needs none. */
  private async opened(): Promise<GuidedDiffusion | undefined> {
    return this.engine?.catch(() => undefined);
  }

  /** The engine; the first call opens it. */
  private open(): Promise<GuidedDiffusion> {
    if (this.engine) return this.engine;
    const engine = GuidedDiffusion.create();
    this.engine = engine;
    engine.then(
      async ({ lost }) => {
        const error = await lost;
        if (this.engine === engine) this.onLost(error);
      },
      () => {
        if (this.engine === engine) this.engine = undefined;
      },
    );
    return engine;
  }
}

/** Waits for what cannot be stopped, as the opening of a GPU, but no longer than until the signal. */
function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    work.then(resolve, reject);
  });
}

/** Whether it comes with the page, whose networks are small. */
const isOurs = ({ linked }: ModelChoice) => linked !== null && linked.kind !== 'url';

/** The batch that takes the fewest passes, with the least padding. */
function evenBatch(count: number): number {
  return Math.ceil(count / Math.ceil(count / AT_ONCE));
}
