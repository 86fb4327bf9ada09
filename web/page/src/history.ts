/**
 * Sheets that outlive the visit, in IndexedDB: the job as it was, and each image's file and trail, which is written once it is made.
 * A browser that keeps nothing (a private window) does without.
 */
import type { Sheet } from './gallery.js';
import type { Job } from './jobs.js';
import { type Picture, pixelsOf } from './picture.js';

/** An image as it is kept; those of earlier versions have no `noise`, `columns` and `small`. */
interface KeptPicture {
  at: number;
  blob: Blob;
  parameters: Record<string, string>;
  steps: number[];
  noise?: (number | null)[];
  strip: Blob | null;
  columns?: number;
  small?: boolean;
}

/** A sheet as it is kept. */
interface Kept {
  id: string;
  time: number;
  job: Job;
  /** Of earlier versions; others are in a store of their own. */
  pictures?: KeptPicture[];
}

/** A sheet of an earlier visit. */
export interface Earlier {
  id: string;
  job: Job;
  pictures: [at: number, picture: Picture][];
}

const SHEETS = 'sheets';
/** By the sheet's id and the image's place. */
const PICTURES = 'pictures';

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('the browser’s database failed'));
  });
}

export class History {
  /** null where there is none. */
  private readonly database: Promise<IDBDatabase | null>;
  /** The places of images that are kept, by sheet. */
  private readonly kept = new Map<string, Set<number>>();

  constructor() {
    this.database = (async () => {
      const request = indexedDB.open('guided-diffusion-page', 2);
      request.onupgradeneeded = ({ oldVersion }) => {
        if (oldVersion < 1) request.result.createObjectStore(SHEETS, { keyPath: 'id' });
        request.result.createObjectStore(PICTURES);
      };
      const database = await settled(request);
      // A later version of the page waits for that.
      database.onversionchange = () => database.close();
      return database;
    })().catch(() => null);
  }

  /** Keeps what a sheet has and is not kept yet; rejects where the browser refuses, as for want of room. */
  async put({ id, job, places, pictures }: Sheet): Promise<void> {
    const kept = this.kept.get(id) ?? new Set();
    const fresh = places.filter((at) => !kept.has(at));
    if (fresh.length === 0) return;
    for (const at of fresh) kept.add(at);
    this.kept.set(id, kept);
    try {
      await this.use('readwrite', (sheets, images) => {
        // A file that was picked cannot be read again at another visit.
        sheets.put({ id, time: Date.now(), job: { ...job, choice: null } } satisfies Kept);
        for (const at of fresh) {
          const { blob, parameters, trail, small = false } = pictures.get(at) as Picture;
          const picture: KeptPicture = { at, blob, parameters, steps: trail.at, noise: trail.noise, strip: trail.film, columns: trail.columns, small };
          images.put(picture, [id, at]);
        }
      });
    } catch (error) {
      for (const at of fresh) kept.delete(at);
      throw error;
    }
  }

  async remove(ids: string[]): Promise<void> {
    await this.use('readwrite', (sheets, pictures) => {
      for (const id of ids) {
        sheets.delete(id);
        pictures.delete(IDBKeyRange.bound([id], [id, []]));
      }
    });
  }

  /** What is kept, the newest first. */
  async all(): Promise<Earlier[]> {
    const found = await this.use('readonly', (sheets, pictures) => [sheets.getAll(), pictures.getAll(), pictures.getAllKeys()] as const).catch(() => null);
    if (!found) return [];
    const [sheets, pictures, keys] = found;
    const of = new Map<string, KeptPicture[]>();
    (pictures.result as KeptPicture[]).forEach((picture, k) => {
      const [id] = keys.result[k] as [string, number];
      of.set(id, [...(of.get(id) ?? []), picture]);
    });
    const read = (sheets.result as Kept[])
      .sort((a, b) => b.time - a.time)
      .map(async ({ id, job, pictures: inside = [] }): Promise<Earlier> => {
        const all = [...inside, ...(of.get(id) ?? [])];
        this.kept.set(id, new Set(all.map(({ at }) => at)));
        return { id, job, pictures: await Promise.all(all.map(pictureOf)) };
      });
    const settledAll = await Promise.allSettled(read);
    return settledAll.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  }

  /** Resolves to what `work` returns once all is read or written: a page that is left before that loses it. null without a database. */
  private async use<T>(mode: IDBTransactionMode, work: (sheets: IDBObjectStore, pictures: IDBObjectStore) => T): Promise<T | null> {
    const database = await this.database;
    if (!database) return null;
    const transaction = database.transaction([SHEETS, PICTURES], mode);
    const over = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('the browser’s database failed'));
    });
    const requests = work(transaction.objectStore(SHEETS), transaction.objectStore(PICTURES));
    await over;
    return requests;
  }
}

async function pictureOf({ at, blob, parameters, steps, noise = [], strip, columns = 1, small = false }: KeptPicture): Promise<[number, Picture]> {
  return [at, { blob, parameters, pixels: await pixelsOf(blob), trail: { at: strip ? steps : [], noise, film: strip, columns }, small }];
}
