/**
 * How it works: what one step of the sampler has before it, works out and leaves, for the image at hand. The image is made once
 * more for that, and each step's values are read back from the GPU.
 */
import { type GeneratedImage, seedNoise } from 'guided-diffusion';
import { byId, keepFocus, paint } from './dom.js';
import type { Sheet } from './gallery.js';
import type { Job } from './jobs.js';
import type { Runner } from './runner.js';
import type { Settings } from './settings.js';

/** One step, as pictures. */
interface Moment {
  step: number;
  before: ImageData | null;
  noise: ImageData | null;
  guess: ImageData;
  gradient: ImageData | null;
  after: ImageData;
}

type Part = Exclude<keyof Moment, 'step'>;
const PARTS: Part[] = ['before', 'noise', 'guess', 'gradient', 'after'];

/** What a step's preview holds. */
export type OnStep = (step: number, preview: GeneratedImage) => void;

export class HowItWorks {
  private readonly root = byId('how', HTMLDetailsElement);
  private readonly button = byId('how-show', HTMLButtonElement);
  private readonly stop = byId('how-stop', HTMLButtonElement);
  private readonly said = byId('how-said', HTMLElement);
  private moments: Moment[] = [];
  private shown: { sheet: Sheet; at: number } | undefined;
  private control = new AbortController();
  /** Steps of the image at hand. */
  private steps = 0;

  constructor(
    /** Makes an image. */
    private readonly make: (job: Job, settings: Settings, signal: AbortSignal, onStep: OnStep) => Promise<void>,
    /** Why it cannot. */
    private readonly problemOf: (sheet: Sheet) => string | null,
    /** Moves the slider to a step. */
    private readonly toStep: (step: number) => void,
  ) {
    this.button.addEventListener('click', () => void this.run());
    this.stop.addEventListener('click', () => {
      this.control.abort('cancelled');
      keepFocus(() => this.offer(), this.button, this.root);
    });
  }

  /** Another image is at hand, or none. */
  show(sheet: Sheet | undefined, at = 0): void {
    this.control.abort('cancelled');
    this.moments = [];
    this.shown = sheet && { sheet, at };
    this.root.classList.remove('shown');
    byId('how-guides', HTMLElement).hidden = sheet?.job.facts.classifier === false;
    this.offer();
  }

  /** It can be made. */
  private offer(): void {
    [this.button.hidden, this.stop.hidden] = [false, true];
    this.follow();
  }

  /** What is possible may have changed. */
  follow(): void {
    // Its own steps are shown, or on their way.
    if (this.button.hidden) return;
    const problem = this.shown ? this.problemOf(this.shown.sheet) : null;
    this.button.disabled = problem !== null;
    this.said.textContent = problem ?? 'Makes the image once more and keeps what each step works with.';
  }

  /** What happens in the step after which the slider stands; the nearest one that is kept. */
  at(step: number): void {
    const moment = this.moments.filter((one) => one.step <= step).at(-1) ?? this.moments[0];
    if (!moment) return;
    for (const part of PARTS) {
      const pixels = moment[part];
      const canvas = byId(`how-${part}`, HTMLCanvasElement);
      canvas.classList.toggle('none', pixels === null);
      if (pixels) paint(canvas, pixels);
    }
    this.said.textContent = `Step ${moment.step} of ${this.steps}`;
  }

  private async run(): Promise<void> {
    if (!this.shown) return;
    const { sheet, at } = this.shown;
    const settings = sheet.job.cells[at]?.settings ?? sheet.job.settings;
    const { signal } = (this.control = new AbortController());
    this.steps = settings.steps;
    this.moments = [];
    this.stop.hidden = false;
    keepFocus(() => (this.button.hidden = true), this.stop, this.root);
    this.said.textContent = 'One moment …';
    let x: Float32Array | null = null;
    let last = 0;
    try {
      await this.make(sheet.job, settings, signal, (step, preview) => {
        const { inside, width, values, index } = preview;
        if (!inside || signal.aborted) return;
        const channels = values.length / width ** 2;
        if (step === 1 && !sheet.job.given) x = seedNoise(settings.seed, index, values.length);
        const before = last === step - 1 ? x : null;
        const picture = (of: Float32Array) => pixelsOf(of, width, channels);
        this.moments.push({
          step,
          before: before && picture(before),
          noise: inside.noise ? picture(inside.noise) : before && picture(besides(before, values)),
          guess: preview.toImageData(),
          gradient: inside.gradient && heat(inside.gradient, width, channels),
          after: picture(inside.x),
        });
        [x, last] = [inside.x, step];
        this.root.classList.add('shown');
        this.toStep(step);
        this.at(step);
      });
      keepFocus(() => (this.stop.hidden = true), byId('scrub', HTMLInputElement), this.root);
    } catch (error) {
      if (signal.aborted) return;
      [this.button.hidden, this.stop.hidden] = [false, true];
      this.said.textContent = `That did not work: ${error instanceof Error ? error.message : error}`;
    }
  }
}

/** Why this image cannot be made again as it was, now; null where it can. */
export function problemOf(runner: Runner, job: Job, loaded: boolean, busy: boolean): string | null {
  if (job.kind === 'morph') return 'An image of a walk has no seed of its own: open another one.';
  if (busy) return 'The GPU is at work: wait for it, or cancel that.';
  if (!runner.model) return 'No model is loaded.';
  return loaded ? null : `${job.modelName} made this image: load it first.`;
}

/** Values as levels of brightness: those of an image as they are, noise so that nine tenths of it can be told apart. */
function pixelsOf(values: Float32Array, side: number, channels: number): ImageData {
  const most = Math.max(1, values.map(Math.abs).sort()[Math.floor(values.length * 0.9)] ?? 1);
  return picture(side, (at, channel) => {
    const value = values[at * channels + Math.min(channel, channels - 1)] ?? 0;
    return 127.5 * (1 + value / most);
  });
}

/**
 * Of a network that predicts the image and no noise: what is in x_t besides a multiple of the guess, which is the noise but for
 * its size.
 */
function besides(x: Float32Array, guess: Float32Array): Float32Array {
  const dot = (of: Float32Array) => of.reduce((sum, value, at) => sum + value * (guess[at] ?? 0), 0);
  const share = dot(x) / Math.max(dot(guess), 1e-20);
  return x.map((value, at) => value - share * (guess[at] ?? 0));
}

const HOT = [255, 154, 87];
const COLD = [80, 160, 255];

/** A gradient as a heat map: orange where a pixel should become brighter, blue where darker, black where it does not matter. */
function heat(gradient: Float32Array, side: number, channels: number): ImageData {
  const sums = Float32Array.from({ length: side ** 2 }, (_, at) => gradient.subarray(at * channels, (at + 1) * channels).reduce((a, b) => a + b, 0));
  const most = sums.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-20);
  // A root, so that what is weaker than a few strongest pixels is seen, too.
  return picture(side, (at, channel) => {
    const value = sums[at] ?? 0;
    return Math.sqrt(Math.abs(value) / most) * ((value > 0 ? HOT : COLD)[channel] ?? 0);
  });
}

function picture(side: number, level: (at: number, channel: number) => number): ImageData {
  const pixels = new ImageData(side, side);
  for (let at = 0; at < side ** 2; at++) {
    for (let channel = 0; channel < 3; channel++) pixels.data[at * 4 + channel] = level(at, channel);
    pixels.data[at * 4 + 3] = 255;
  }
  return pixels;
}
