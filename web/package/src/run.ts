/** A run under way: an iterator of steps and a promise of images over the worker's events. */
import { aborted } from './errors.js';
import { Image } from './image.js';
import type { Event } from './protocol.js';
import type { GeneratedImage, Run, Step } from './types.js';

export class SamplingRun implements Run {
  readonly result: Promise<GeneratedImage[]>;
  readonly images: GeneratedImage[] = [];
  #controller = new AbortController();
  /** Steps that nobody has taken yet. Their previews are dropped but for the newest, so that they take no memory. */
  #steps: Step[] = [];
  #waiting: (() => void)[] = [];
  #over = false;
  #failure: unknown = null;

  /** `start` makes the call. */
  constructor(
    readonly seed: bigint,
    start: (signal: AbortSignal, onEvent: (event: Event) => void) => Promise<unknown>,
    signal?: AbortSignal,
  ) {
    const outer = () => this.#controller.abort(signal?.reason);
    if (signal?.aborted) outer();
    signal?.addEventListener('abort', outer);
    this.result = start(this.#controller.signal, (event) => this.#take(event)).then(
      () => {
        this.#end(null);
        return this.images;
      },
      (error: unknown) => {
        this.#end(error);
        throw error;
      },
    );
    this.result.finally(() => signal?.removeEventListener('abort', outer)).catch(() => undefined);
  }

  cancel(): void {
    this.#controller.abort(aborted());
  }

  /** Ends with the run; throws what it failed with, but ends quietly where it was stopped. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Step, void, undefined> {
    for (;;) {
      const step = this.#steps.shift();
      if (step) {
        yield step;
      } else if (this.#over) {
        if (this.#failure !== null && !this.#controller.signal.aborted) throw this.#failure;
        return;
      } else {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    }
  }

  #take(event: Event): void {
    if (event.kind === 'images') {
      this.images.push(...event.images.map((image) => new Image(image)));
    } else if (event.kind === 'step') {
      const { kind: _, previews, ...step } = event;
      if (previews) for (const old of this.#steps) old.previews = null;
      this.#steps.push({ ...step, previews: previews?.map((image) => new Image(image)) ?? null });
      this.#wake();
    }
  }

  #end(failure: unknown): void {
    this.#over = true;
    this.#failure = failure;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
