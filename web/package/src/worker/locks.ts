/** Web Locks on what is stored: by name, over all pages of an origin. The browser frees those of a worker that ends. */

const PREFIX = 'guided-diffusion ';

/** Gives a lock back; resolves when it is free. */
export type Release = () => Promise<void>;

/** Takes a lock where it is free, or becomes so within `patience` milliseconds; resolves to what gives it back, else to null. */
export function hold(name: string, mode: LockMode, patience = 0): Promise<Release | null> {
  return new Promise((resolve, reject) => {
    const how = patience > 0 ? { mode, signal: AbortSignal.timeout(patience) } : { mode, ifAvailable: true };
    const over = navigator.locks.request(PREFIX + name, how, (lock) => {
      if (!lock) return resolve(null);
      return new Promise<void>((free) => {
        resolve(() => {
          free();
          return over;
        });
      });
    });
    over.catch((error: unknown) => {
      if (error instanceof DOMException && error.name === 'TimeoutError') resolve(null);
      else reject(error as Error);
    });
  });
}
