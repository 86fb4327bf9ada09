/** One after the other: a device's errors belong to what runs alone on it. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Does `work` after all earlier work. Waiting ends at once where it is cancelled. */
  take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const turn = new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      void before.then(() => resolve());
    });
    const done = turn.then(() => {
      signal.throwIfAborted();
      return work();
    });
    // Who waits for this turn waits for those before it as well, though it may be over at once.
    this.#last = Promise.allSettled([before, done]);
    return done;
  }
}
