/** Makes work on the device take turns, so that an error of the device belongs to the work that runs. */
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
    return new Promise<T>((resolve, reject) => {
      const stop = () => reject(signal.reason as Error);
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop, { once: true });
      const over = () => signal.removeEventListener('abort', stop);
      done.then(resolve, reject).finally(over);
    });
  }
}
