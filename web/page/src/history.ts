/**
 * Sheets that outlive the visit, in IndexedDB: the job as it was, and each image's file and trail. A browser that keeps nothing
 * (a private window) does without.
 */
import type { Sheet } from './gallery.js';
import type { Job } from './jobs.js';
import { type Picture, pixelsOf, strip, unstrip } from './picture.js';

/** A sheet as it is kept; those of earlier versions have no `noise`. */
interface Kept {
  id: string;
  time: number;
  job: Job;
  pictures: { at: number; blob: Blob; parameters: Record<string, string>; steps: number[]; noise?: (number | null)[]; strip: Blob | null }[];
}

/** A sheet of an earlier visit. */
export interface Earlier {
  id: string;
  job: Job;
  pictures: [at: number, picture: Picture][];
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('the browser’s database failed'));
  });
}

export class History {
  /** null where there is none. */
  private readonly database: Promise<IDBDatabase | null>;
  private readonly times = new Map<string, number>();

  constructor() {
    this.database = (async () => {
      const request = indexedDB.open('guided-diffusion-page', 1);
      request.onupgradeneeded = () => request.result.createObjectStore('sheets', { keyPath: 'id' });
      return settled(request);
    })().catch(() => null);
  }

  async put(sheet: Sheet): Promise<void> {
    const { id } = sheet;
    const time = this.times.get(id) ?? Date.now();
    this.times.set(id, time);
    // A file that was picked cannot be read again at another visit.
    const job: Job = { ...sheet.job, choice: null };
    const pictures = await Promise.all(
      sheet.places.map(async (at) => {
        const { blob, parameters, trail } = sheet.pictures.get(at) as Picture;
        return { at, blob, parameters, steps: trail.at, noise: trail.noise, strip: trail.frames.length ? await strip(trail.frames) : null };
      }),
    );
    await this.use('readwrite', (store) => store.put({ id, time, job, pictures } satisfies Kept));
  }

  async remove(ids: string[]): Promise<void> {
    await this.use('readwrite', (store) => ids.map((id) => store.delete(id)).at(-1));
  }

  /** What is kept, the newest first. */
  async all(): Promise<Earlier[]> {
    const kept = ((await this.use('readonly', (store) => store.getAll())) ?? []) as Kept[];
    const read = kept
      .sort((a, b) => b.time - a.time)
      .map(async ({ id, time, job, pictures }): Promise<Earlier> => {
        this.times.set(id, time);
        const whole = pictures.map(async ({ at, blob, parameters, steps, noise = [], strip: film }): Promise<[number, Picture]> => {
          const frames = film ? await unstrip(film, steps.length) : [];
          return [at, { blob, parameters, pixels: await pixelsOf(blob), trail: { at: steps, noise, frames } }];
        });
        return { id, job, pictures: await Promise.all(whole) };
      });
    const settledAll = await Promise.allSettled(read);
    return settledAll.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  }

  /** The result of the last request, once all of them are written: a page that is left before that loses them. */
  private async use<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T> | undefined): Promise<T | null> {
    const database = await this.database;
    if (!database) return null;
    try {
      const transaction = database.transaction('sheets', mode);
      const request = work(transaction.objectStore('sheets'));
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error('the browser’s database failed'));
      });
      return request?.result ?? null;
    } catch {
      return null; // no room, say: what is on the page stays there
    }
  }
}
