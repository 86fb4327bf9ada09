/** Web Locks on what is stored: by name, over all pages of an origin. The browser frees those of a worker that ends. */

const PREFIX = 'guided-diffusion ';

/** Gives a lock back; resolves when it is free. */
export type Release = () => Promise<void>;

/** Takes a lock where it is free; resolves to what gives it back, else to null. */
export function hold(name: string, mode: LockMode): Promise<Release | null> {
  return new Promise((resolve, reject) => {
    const over = navigator.locks.request(PREFIX + name, { mode, ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise<void>((free) => {
        resolve(() => {
          free();
          return over;
        });
      });
    });
    over.catch(reject);
  });
}
