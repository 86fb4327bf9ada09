/** Makes what a job asks for: its sheet on the stage, its runs one after the other, and what is said meanwhile and afterwards. */
import type { Step } from 'guided-diffusion';
import { byId } from './dom.js';
import type { Gallery, Sheet } from './gallery.js';
import type { OnStep } from './how.js';
import { type Job, MORPH } from './jobs.js';
import { type ModelChoice, alike } from './models.js';
import { Pause, morph } from './morph.js';
import { seconds } from './plain.js';
import type { Progress } from './progress.js';
import type { Runner } from './runner.js';
import type { Settings } from './settings.js';

/** Milliseconds for an image that feel like at once. */
const AT_ONCE = 100;

/** Steps whose values are kept of images larger than SMALL pixels. */
const FEW = 25;
const SMALL = 64;

interface Page {
  sheet: (job: Job) => Sheet;
  /** Loads a model for so many images at once. */
  prepare: (choice: ModelChoice, count: number, signal: AbortSignal) => Promise<void>;
}

export class Maker {
  /** A walk's. */
  readonly pause = new Pause();

  constructor(
    private readonly runner: Runner,
    private readonly gallery: Gallery,
    private readonly progress: Progress,
    private readonly page: Page,
  ) {}

  async make(job: Job, signal: AbortSignal): Promise<void> {
    const sheet = this.page.sheet(job);
    this.gallery.stageSheet(sheet);
    if (job.kind !== 'live') reveal(byId('current', HTMLElement));
    const { choice } = job;
    const count = job.kind === 'morph' ? MORPH : Math.max(...job.parts.map(({ cells }) => cells.length));
    try {
      if (choice && (!alike(choice, this.runner.choice) || !this.runner.fits(count))) {
        this.progress.begin(`Preparing for ${atOnce(choice.batch || this.runner.batchFor(count))}`);
        await this.page.prepare(choice, count, signal);
      }
      this.progress.begin('Starting');
      if (job.kind === 'morph') await morph(this.runner, sheet, signal, this.pause, (images) => this.progress.walk(images));
      else for (const [k, part] of job.parts.entries()) await this.makePart(sheet, k, part, signal);
    } catch (error) {
      sheet.stop();
      throw error;
    } finally {
      if (this.pause.on) this.pause.toggle();
      this.gallery.keep(sheet);
    }
    const { elapsed } = this.progress;
    if (job.kind === 'live') {
      const slow = elapsed / job.cells.length > AT_ONCE ? ' Fewer steps and images are faster; a software driver always waits.' : '';
      return this.progress.rest('Live', `Made in ${seconds(elapsed)}. Live keeps no images.${slow}`);
    }
    const images = job.cells.length === 1 ? '1 image' : `${job.cells.length} images`;
    this.progress.rest(`Done in ${seconds(elapsed)}`, `${images}. Open one to save it.`);
  }

  /** Makes one image; each step's preview carries what the step worked with. */
  async explain(job: Job, settings: Settings, signal: AbortSignal, onStep: OnStep): Promise<void> {
    // A batch for many images would compute as many for the one.
    if (job.choice && !this.runner.fits(1)) {
      this.progress.begin(`Preparing for ${atOnce(1)}`);
      await this.page.prepare(job.choice, 1, signal);
    }
    this.progress.begin('Once more');
    const every = this.runner.imageSize <= SMALL ? 1 : Math.ceil(settings.steps / FEW);
    const run = this.runner.sample(settings, signal, { ...givenOf(job), previewEvery: every, inside: true });
    for await (const step of run) {
      this.progress.step(step, this.runner.model?.info.batch ?? 1, 0, 1, 'image');
      for (const preview of step.previews ?? []) onStep(step.step, preview);
    }
    await run.result;
    this.progress.rest('Done', 'What each step worked with is shown beside the image.');
  }

  private async makePart(sheet: Sheet, k: number, part: Job['parts'][number], signal: AbortSignal): Promise<void> {
    const { parts } = sheet.job;
    const batch = this.runner.model?.info.batch ?? 1;
    const placeOf = (index: number) => part.cells[index - part.settings.first] ?? -1;
    const run = this.runner.sample(part.settings, signal, givenOf(sheet.job));
    /** Whatever becomes of the rest, what is finished is kept. */
    const finish = async () => {
      const before = sheet.pictures.size;
      await Promise.all(run.images.map((image) => sheet.finish(placeOf(image.index), image)));
      if (sheet.pictures.size > before) this.gallery.keep(sheet);
    };
    try {
      for await (const step of run) {
        const { stages } = this.runner;
        this.progress.step(step, batch, k * stages + stageOf(step), parts.length * stages, stages > 1 ? 'stage' : 'image');
        for (const image of step.previews ?? []) sheet.preview(placeOf(image.index), image, step.step);
        await finish();
      }
      await run.result;
      await finish();
    } catch (error) {
      await finish();
      // Of a stack that ended in its second stage, the small images are what there is.
      const small = 'small' in run ? await run.small.catch(() => []) : [];
      for (const image of small) await sheet.finish(placeOf(image.index), image, true);
      throw error;
    }
  }
}

export const atOnce = (images: number) => (images === 1 ? 'one image at a time' : `${images} images at once`);

/** A drawing as options of a run. */
const givenOf = ({ given }: Job) => given && { init: given.init, ...(given.mask ? { mask: given.mask } : { strength: given.strength }) };

/** The stage of a stack's step. */
const stageOf = (step: Step & { stage?: number }) => step.stage ?? 0;

/** Brings the images into view where a small screen shows the fields. */
function reveal(target: HTMLElement): void {
  const { top, bottom } = target.getBoundingClientRect();
  // What goes on is said above them.
  const seen = top >= parseFloat(getComputedStyle(target).scrollMarginTop) && Math.min(bottom, top + 300) < innerHeight;
  const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (!seen) target.scrollIntoView({ block: 'start', behavior: smooth ? 'smooth' : 'auto' });
}
