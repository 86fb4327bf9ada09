/**
 * The status line above the images: what is going on, how far it is, and how long it will take. Its space is always
 * there, so that nothing moves. Screen readers hear the start, quarters and the end, not every step.
 */
import type { LoadProgress, Step, TuneProgress } from 'guided-diffusion';
import { announce, byId } from './dom.js';
import { megabytes, sentence } from './plain.js';

export class Progress {
  private readonly title = byId('stage-title', HTMLElement);
  private readonly detail = byId('detail', HTMLElement);
  private readonly bar = byId('progress', HTMLProgressElement);
  private started = 0;
  private firstStep: { at: number; share: number } | undefined;
  private said = 0;

  /** Nothing runs. */
  rest(title: string, detail = ''): void {
    this.show(title, detail, 0);
    this.bar.classList.remove('busy');
    announce(detail ? `${title}. ${detail}` : title);
  }

  begin(title: string): void {
    this.started = performance.now();
    this.firstStep = undefined;
    this.said = 0;
    this.show(title, '', 0);
    this.bar.classList.add('busy');
    announce(title);
  }

  /** Milliseconds since `begin`. */
  get elapsed(): number {
    return performance.now() - this.started;
  }

  load(progress: LoadProgress): void {
    const { loaded, total, from, files, kernels } = progress;
    if (from === 'device') {
      const { done = 0, total: all = 0 } = kernels ?? {};
      return this.show('Preparing the GPU', all ? `${done} of ${all} GPU programs (kernels) compiled` : 'Compiling programs for it', all ? done / all : 0);
    }
    const of = total === null ? megabytes(loaded) : `${megabytes(loaded)} of ${megabytes(total)}`;
    const where = { network: 'from the network', cache: 'kept from before', file: 'from your disk' }[from];
    const now = files.find((file) => file.total === null || file.loaded < file.total)?.role ?? 'model';
    this.show(`Loading the ${now}`, `${of}, ${where}`, total ? loaded / total : 0);
  }

  tune({ done, total }: TuneProgress): void {
    this.show('Tuning', `${done} of ${total} kinds of kernel measured`, total ? done / total : 0);
  }

  /** `part` of `parts`: runs that belong together, each of which is called `noun`. */
  step({ step, steps, imagesDone, images }: Step, batch: number, part = 0, parts = 1, noun = 'image'): void {
    const batches = Math.ceil(images / batch);
    const share = (part + (Math.floor(imagesDone / batch) * steps + step) / (batches * steps)) / parts;
    const now = performance.now();
    // The first step waits for the GPU to wake up, and would make the guess too long.
    this.firstStep ??= { at: now, share };
    const rate = (share - this.firstStep.share) / (now - this.firstStep.at);
    const left = rate > 0 ? `about ${remaining((1 - share) / rate)} left` : 'under way';
    const last = Math.min(imagesDone + batch, images);
    const which = parts > 1 ? `${noun} ${part + 1} of ${parts}, ` : batches === 1 ? '' : `images ${imagesDone + 1} to ${last} of ${images}, `;
    this.show(`Step ${step} of ${steps}`, sentence(which + left), share);
    if (Math.floor(share * 4) > this.said) {
      this.said = Math.floor(share * 4);
      announce(`${Math.round(share * 100)} percent, ${left}`);
    }
  }

  /** A walk, which has no end. */
  walk(images: number): void {
    this.show('Walking', `${images} images so far. Cancel stops, and keeps the walk.`, 1);
  }

  /** A walk is held up, or continues. */
  hold(held: boolean): void {
    this.title.textContent = held ? 'Paused' : 'Walking';
    announce(this.title.textContent);
  }

  private show(title: string, detail: string, share: number): void {
    this.title.textContent = title;
    this.detail.textContent = detail || '\u00a0';
    this.bar.value = share;
  }
}

/** Whole seconds: tenths would flicker. */
function remaining(milliseconds: number): string {
  const whole = Math.ceil(milliseconds / 1000);
  return whole < 100 ? `${whole} s` : `${Math.round(whole / 60)} min`;
}
