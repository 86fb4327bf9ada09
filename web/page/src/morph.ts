/**
 * An endless walk between seeds and classes: the noise of one seed turns into that of the next by spherical interpolation
 * (Shoemake 1985), so that each point on the way is noise of the same length; half-way, the class changes.
 */
import { interpolateNoise, seedNoise } from 'guided-diffusion';
import { FRAME } from './clip.js';
import { MORPH } from './jobs.js';
import { wait } from './plain.js';
import type { Runner } from './runner.js';
import type { Sheet } from './gallery.js';

/** Images that are kept of a walk: its clip. */
const KEPT = 240;

/** Holds a walk up until it is released. */
export class Pause {
  private release: (() => void) | null = null;
  private gate: Promise<void> = Promise.resolve();

  get on(): boolean {
    return this.release !== null;
  }

  toggle(): void {
    if (this.release) {
      this.release();
      this.release = null;
    } else this.gate = new Promise((resolve) => (this.release = resolve));
  }

  /** Waits while it holds, and not after the signal. */
  async passed(signal: AbortSignal): Promise<void> {
    if (!this.on || signal.aborted) return;
    const passed = new AbortController();
    const stopped = new Promise((resolve) => signal.addEventListener('abort', resolve, { signal: passed.signal }));
    await Promise.race([this.gate, stopped]);
    passed.abort(); // removes the listener
  }
}

/** Walks until the signal; `say` is called after each image. */
export async function morph(runner: Runner, sheet: Sheet, signal: AbortSignal, pause: Pause, say: (images: number) => void): Promise<void> {
  const { settings } = sheet.job;
  const info = runner.model?.info;
  if (!info) return;
  const length = info.imageSize ** 2 * info.channels;
  const noiseOf = (stop: number) => seedNoise(settings.seed, settings.first + stop, length);
  const labelOf = (stop: number) => (settings.label ?? settings.first + stop) % Math.max(1, runner.facts.classes);
  let made = 0;
  let shown: Promise<void> = Promise.resolve();
  let [from, to] = [noiseOf(0), noiseOf(1)];
  try {
    for (let stop = 0; ; stop++) {
      const noise = new Float32Array(MORPH * length);
      for (let k = 0; k < MORPH; k++) noise.set(interpolateNoise(from, to, k / MORPH), k * length);
      const classes = Array.from({ length: MORPH }, (_, k) => labelOf(k < MORPH / 2 ? stop : stop + 1));
      const run = runner.sample({ ...settings, count: MORPH, first: 0 }, signal, {
        noise,
        previewEvery: 0,
        ...(info.classes > 0 && { classes }),
      });
      const images = await run.result;
      // The walk is shown while its next part is made.
      await shown;
      shown = (async () => {
        for (const image of images) {
          await pause.passed(signal);
          if (signal.aborted) return;
          sheet.preview(0, image, ++made, KEPT);
          say(made);
          await wait(FRAME);
        }
      })();
      [from, to] = [to, noiseOf(stop + 2)];
      sheet.last = images.at(-1) ?? null;
    }
  } finally {
    await shown;
    // Where the walk has come to is its image.
    if (sheet.last) await sheet.finish(0, sheet.last);
  }
}
