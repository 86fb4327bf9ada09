/** One image, large: how it came about, its parameters, and what can be done with it. */
import { FRAME, canClip, clip } from './clip.js';
import { byId, closable, element, paint, save } from './dom.js';
import type { Sheet } from './gallery.js';
import type { HowItWorks } from './how.js';
import { type Job, aboutSamplerOf, factsOf, trailSteps } from './jobs.js';
import { type Picture, enlarged, framesOf, strip } from './picture.js';
import { animated } from './png.js';
import type { Settings } from './settings.js';

/** Milliseconds that the last frame of an animation is shown. */
const LAST = 1500;

/** Pixels of an enlarged file's shorter side, at least. */
const LARGE = 512;

interface ViewerActions {
  useSeed: (seed: bigint) => void;
  /** Makes the image of a place again, by itself. */
  again: (job: Job, at: number) => void;
  /** Copies a link to an image of a job. */
  link: (settings: Settings, job: Job) => Promise<void>;
  /** Puts an image on the drawing board. */
  draw: (bitmap: ImageBitmap) => void;
  /** The column beside the image, which follows the slider. */
  how: (follow: (step: number) => void) => HowItWorks;
}

export class Viewer {
  private readonly dialog = byId('viewer', HTMLDialogElement);
  private readonly canvas = byId('viewer-canvas', HTMLCanvasElement);
  private readonly title = byId('viewer-title', HTMLElement);
  private readonly facts = byId('viewer-facts', HTMLElement);
  private readonly said = byId('viewer-said', HTMLElement);
  private readonly scrub = byId('scrub', HTMLInputElement);
  private readonly scrubbed = byId('scrub-state', HTMLElement);
  private readonly turns = [byId('viewer-previous', HTMLButtonElement), byId('viewer-next', HTMLButtonElement)] as const;
  private readonly how: HowItWorks;
  private shown: { sheet: Sheet; at: number } | undefined;
  private playing = 0;
  /** The trail of the image at hand; empty until it is read. */
  private frames: ImageData[] = [];

  constructor(actions: ViewerActions) {
    closable(this.dialog);
    this.how = actions.how((step) => this.follow(step));
    this.dialog.addEventListener('close', () => {
      this.shown = undefined;
      this.frames = [];
      this.how.show(undefined);
      clearInterval(this.playing);
    });
    this.dialog.addEventListener('keydown', (event) => {
      // On the slider, they move it.
      if (event.target === this.scrub) return;
      if (event.key === 'ArrowLeft') this.turn(-1);
      if (event.key === 'ArrowRight') this.turn(1);
    });
    this.scrub.addEventListener('input', () => {
      clearInterval(this.playing);
      this.showStep(Number(this.scrub.value));
    });
    const on = (id: string, act: (sheet: Sheet, at: number, picture: Picture) => Promise<string> | string | void) =>
      byId(id, HTMLButtonElement).addEventListener('click', async () => {
        const picture = this.shown?.sheet.pictures.get(this.shown.at);
        if (!this.shown || !picture) return;
        try {
          this.said.textContent = (await act(this.shown.sheet, this.shown.at, picture)) ?? '';
        } catch (error) {
          this.said.textContent = `The browser refused: ${error instanceof Error ? error.message : error}`;
        }
      });
    on('viewer-previous', () => this.turn(-1));
    on('viewer-next', () => this.turn(1));
    on('scrub-play', () => this.play());
    on('viewer-download', async (sheet, at, { blob, trail }) => {
      // What is shown is saved: a step's prediction, where the slider stands there.
      const k = Number(this.scrub.value);
      const frame = this.frames[k];
      return frame ? saved(await strip([frame], 1), `${sheet.fileName(at)}-step-${trail.at[k]}.png`) : saved(blob, `${sheet.fileName(at)}.png`);
    });
    on('viewer-large', async (sheet, at, { pixels }) => {
      const blob = await enlarged(this.frames[Number(this.scrub.value)] ?? pixels, LARGE);
      return saved(blob, `${sheet.fileName(at)}-large.png`);
    });
    on('viewer-strip', async (sheet, at, { trail }) => saved(await strip(await framesOf(trail), trail.at.length), `${sheet.fileName(at)}-steps.png`));
    on('viewer-animation', async (sheet, at, { trail }) => {
      const frames = await Promise.all((await framesOf(trail)).map((frame) => strip([frame], 1)));
      const times = frames.map((_, k) => (k === frames.length - 1 ? LAST : FRAME));
      return saved(await animated(frames, times), `${sheet.fileName(at)}-animated.png`);
    });
    byId('viewer-clip', HTMLButtonElement).hidden = !canClip;
    on('viewer-clip', async (sheet, at, { trail, pixels }) => {
      const frames = [...(await framesOf(trail)), pixels];
      const times = frames.map((_, k) => (k === frames.length - 1 ? LAST : FRAME));
      const blob = await clip(frames, times, (done) => (this.said.textContent = `Recording ${done} of ${frames.length}`));
      return saved(blob, `${sheet.fileName(at)}.webm`);
    });
    on('viewer-copy', async (_sheet, _at, { parameters }) => {
      // A drawing has no file that could be named.
      const lines = Object.entries(parameters).map(([name, value]) => `${name}: ${value === name ? 'drawn on the page' : value}`);
      await navigator.clipboard.writeText(lines.join('\n'));
      return 'Settings copied';
    });
    on('viewer-link', async ({ job }, at) => {
      await actions.link(job.cells[at]?.settings ?? job.settings, job);
      return job.model ? 'Link copied' : 'Link copied; it cannot name a model from your disk';
    });
    on('viewer-seed', ({ job }) => {
      actions.useSeed(job.settings.seed);
      this.dialog.close();
    });
    on('viewer-draw', async (_sheet, _at, { pixels }) => {
      const bitmap = await createImageBitmap(pixels);
      this.dialog.close();
      actions.draw(bitmap);
      return '';
    });
    on('viewer-again', ({ job }, at) => {
      this.dialog.close();
      actions.again(job, at);
    });
  }

  open(sheet: Sheet, at: number): void {
    this.show(sheet, at);
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** The page's state has changed. */
  update(): void {
    this.how.follow();
  }

  private turn(by: -1 | 1): void {
    if (!this.shown) return;
    const { sheet, at } = this.shown;
    const next = sheet.places[sheet.places.indexOf(at) + by];
    if (next !== undefined) this.show(sheet, next);
  }

  private show(sheet: Sheet, at: number): void {
    const picture = sheet.pictures.get(at);
    if (!picture) return;
    clearInterval(this.playing);
    this.shown = { sheet, at };
    const name = sheet.nameOf(at);
    this.canvas.ariaLabel = `${name}, generated`;
    this.title.textContent = name;
    this.said.textContent = '\u00a0';
    const facts = { ...factsOf(sheet.job, at), Size: `${picture.pixels.width} × ${picture.pixels.height}` };
    const about = element('span', { className: 'hint', textContent: aboutSamplerOf(sheet.job, at) });
    this.facts.replaceChildren(
      ...Object.entries(facts).flatMap(([term, text]) => [
        element('dt', { textContent: term }),
        element('dd', {}, text, ...(term === 'Sampler' ? [about] : [])),
      ]),
    );
    const walk = sheet.job.kind === 'morph' ? 'An image of a walk has no seed of its own' : '';
    for (const id of ['viewer-again', 'viewer-seed']) refuse(id, walk);
    const unlinked = walk || (sheet.job.given ? 'A link cannot hold a drawing' : '');
    refuse('viewer-link', unlinked);
    if (unlinked) this.said.textContent = `${unlinked}.`;
    byId('viewer-large', HTMLButtonElement).hidden = Math.min(picture.pixels.width, picture.pixels.height) >= LARGE;
    // Not disabled: that would take the focus, and with it the arrow keys.
    const place = sheet.places.indexOf(at);
    this.turns[0].ariaDisabled = String(place === 0);
    this.turns[1].ariaDisabled = String(place === sheet.places.length - 1);
    const { length } = picture.trail.at;
    byId('trail', HTMLElement).hidden = length < 2;
    this.scrub.max = String(length);
    this.scrub.value = String(length);
    paint(this.canvas, picture.pixels);
    this.sayStep(picture, length);
    this.how.show(sheet, at);
    this.frames = [];
    void this.read(picture);
  }

  /** Reads an image's trail: none where its film cannot be read. */
  private async read(picture: Picture): Promise<void> {
    const frames = await framesOf(picture.trail).catch(() => []);
    if (this.shown?.sheet.pictures.get(this.shown.at) !== picture) return;
    this.frames = frames;
    // Where the slider was moved meanwhile.
    const k = Number(this.scrub.value);
    if (k < frames.length) paint(this.canvas, frames[k] ?? picture.pixels);
  }

  /** Goes to the place after a step. */
  private follow(step: number): void {
    const picture = this.shown?.sheet.pictures.get(this.shown.at);
    const k = picture?.trail.at.findIndex((at) => at >= step) ?? -1;
    if (k < 0) return;
    this.scrub.value = String(k);
    this.showStep(k);
  }

  /** What the model took for the image after some steps; the last place is the image itself. */
  private showStep(k: number): void {
    const picture = this.shown?.sheet.pictures.get(this.shown.at);
    if (!picture) return;
    paint(this.canvas, this.frames[k] ?? picture.pixels);
    this.sayStep(picture, k);
    this.how.at(picture.trail.at[k] ?? Infinity);
  }

  private sayStep({ trail, small }: Picture, k: number): void {
    const steps = this.shown ? trailSteps(this.shown.sheet.job, this.shown.at, small) : 0;
    const walk = this.shown?.sheet.job.kind === 'morph';
    const [at, noise] = [trail.at[k], trail.noise[k] ?? null];
    const level = noise === null ? '' : `, noise level ${noise < 99.5 ? Math.round(noise) : Math.floor(noise * 10) / 10} %`;
    const text = at === undefined ? 'The image' : walk ? `Image ${at} of the walk` : `After step ${at} of ${steps}${level}: the image as predicted there`;
    this.scrubbed.textContent = text;
    this.scrub.ariaValueText = text;
  }

  private play(): void {
    clearInterval(this.playing);
    let k = 0;
    this.playing = setInterval(() => {
      this.scrub.value = String(k);
      this.showStep(k);
      if (k++ >= Number(this.scrub.max)) clearInterval(this.playing);
    }, FRAME);
  }
}

/** Disables a button, and says why; '' enables it. */
function refuse(id: string, why: string): void {
  const one = byId(id, HTMLButtonElement);
  one.disabled = why !== '';
  one.title = why;
}

function saved(blob: Blob, name: string): string {
  save(blob, name);
  return `Saved as ${name}`;
}
