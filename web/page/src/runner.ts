/** The GPU and the model on it: opened, loaded, replaced and given back in one place. Nothing of the document. */
import { GuidedDiffusion, GuidedDiffusionError, type LoadProgress, type Model, type Run, type StoredModel, type TuneProgress, type TuneResult } from 'guided-diffusion';
import type { ModelChoice } from './models.js';
import type { Settings } from './settings.js';

/** Images at once where the visitor leaves it to us: all of a usual run, which a small network hardly notices. */
const AT_ONCE = 16;
/** Sides up to this count as small. Larger models get one image at a time, for their memory. */
const SMALL = 32;
/** Previews of a run's batch: as many as look like motion; each waits for the GPU. */
const PREVIEWS = 40;

export class Runner {
  private engine: Promise<GuidedDiffusion> | undefined;
  private loaded: { model: Model; choice: ModelChoice; adapter: string } | undefined;

  constructor(private readonly onLost: (error: unknown) => void) {}

  get model(): Model | undefined {
    return this.loaded?.model;
  }

  get choice(): ModelChoice | undefined {
    return this.loaded?.choice;
  }

  get adapterName(): string {
    return this.loaded?.adapter || 'this GPU';
  }

  /** Loads a model for runs of `count` images. The one before stays in use if that fails. */
  async load(choice: ModelChoice, count: number, signal: AbortSignal, onProgress: (p: LoadProgress) => void): Promise<Model> {
    const engine = await this.open();
    // A new file's image size is not known before it is loaded.
    const small = choice.linked?.kind === 'fashion' || (this.choice?.source === choice.source && this.isSmall());
    const batch = choice.batch || (small ? evenBatch(count) : 1);
    const load = () => engine.load(choice.source, { ...choice.options, batch, signal, onProgress });
    const model = await load().catch((error: unknown) => {
      // Both models together may be what is too much.
      const full = error instanceof GuidedDiffusionError && error.code === 'out-of-memory';
      if (!full || !this.loaded) throw error;
      this.release();
      return load();
    });
    if (model.info.role !== 'diffusion') {
      void model.dispose();
      throw new Error(`${choice.name} is an upsampler: it enlarges images, and this page has none to give it.`);
    }
    this.release();
    this.loaded = { model, choice, adapter: engine.adapter.name };
    return model;
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

  sample(settings: Settings, signal: AbortSignal): Run {
    if (!this.loaded) throw new Error('no model is loaded');
    const { info } = this.loaded.model;
    return this.loaded.model.sample({
      count: settings.count,
      steps: settings.steps,
      sampler: settings.sampler,
      seed: settings.seed,
      previewEvery: Math.ceil(settings.steps / PREVIEWS),
      signal,
      ...(settings.sampler === 'ddim' && { eta: settings.eta }),
      ...(info.guided && { guidance: settings.guidance }),
      ...(settings.label !== null && { classes: [settings.label] }),
    });
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
    return (await this.open()).stored();
  }

  async deleteStored(url: string): Promise<void> {
    return (await this.open()).deleteStored(url);
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
    this.loaded?.model.dispose().catch(() => undefined);
    this.loaded = undefined;
  }

  private isSmall(): boolean {
    return (this.loaded?.model.info.imageSize ?? Infinity) <= SMALL;
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

/** The batch that takes the fewest passes, with the least padding. */
function evenBatch(count: number): number {
  return Math.ceil(count / Math.ceil(count / AT_ONCE));
}
