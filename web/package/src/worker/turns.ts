/** One after the other: a device's errors belong to what runs alone on it. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Does `work` after all earlier work. Where it is cancelled, the answer comes at once; the next turn still waits for the
   * work to end, which may have a kernel to compile before it looks at the signal.
   */
  take<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(() => {
      signal.throwIfAborted();
      return work();
    });
    this.#last = done.catch(() => undefined);
    const cancelled = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return Promise.race([done, cancelled]);
  }
}
