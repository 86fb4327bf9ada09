/**
 * Model files in the browser's private file system, by URL, whose hash N names their files:
 *
 * - `N.bin` and `N.json`: a complete file and its note;
 * - `N.part` and `N.part.json`: a download, with the validator that a server needs to continue it. Only when it is complete and
 *   checked does it take the place of what was complete before.
 *
 * A lock of the URL goes with them: shared while a file is read, exclusive while one is written or deleted. What a worker that
 * was ended has left without use is removed when the next one starts.
 */
import { fileName } from '../names.js';
import type { StoredModel } from '../types.js';
import { Failure } from './failure.js';
import { UNFINISHED, fileOf, folder, nameOf, readText, remove, rename, writeText } from './folder.js';
import { type Release, hold } from './locks.js';

/** Milliseconds that a lock is waited for where only the sweep of a page that starts holds it, as a rule. */
const PATIENCE = 1000;

/** What is known of a stored file. */
interface Note {
  url: string;
  /** The content's hash; empty for a part, until it is complete and takes its place. */
  sha256: string;
  /** A strong entity tag or a date, by which a download can be continued; null if it cannot. */
  validator: string | null;
  /** The whole file's length from its own header; null before that was read. */
  length: number | null;
}

interface Entry extends Note {
  /** The bytes as they are now. */
  file: File;
}

/** A complete file that is being read. */
export interface Stored {
  file: File;
  sha256: string;
  release: Release;
}

const names = (name: string) => ({
  file: `${name}.bin`,
  note: `${name}.json`,
  part: `${name}.part`,
  partNote: `${name}.part.json`,
});

async function entryOf(at: FileSystemDirectoryHandle, fileAt: string, noteAt: string): Promise<Entry | null> {
  const [file, text] = [await fileOf(at, fileAt), await readText(at, noteAt)];
  if (!file || !text) return null;
  try {
    return { ...(JSON.parse(text) as Note), file };
  } catch {
    return null;
  }
}

/** A complete file, judged by its length. */
async function complete(at: FileSystemDirectoryHandle, name: string): Promise<Entry | null> {
  const { file, note } = names(name);
  const entry = await entryOf(at, file, note);
  return entry?.sha256 && entry.file.size === entry.length ? entry : null;
}

/** A part that can be continued. */
async function part(at: FileSystemDirectoryHandle, name: string): Promise<Entry | null> {
  const { part: file, partNote } = names(name);
  const entry = await entryOf(at, file, partNote);
  const known = entry && entry.validator !== null && entry.length !== null;
  return known && entry.file.size > 0 && entry.file.size <= (entry.length ?? 0) ? entry : null;
}

/** Opens what is stored of a URL to be read; null where there is nothing complete. */
export async function open(url: string): Promise<Stored | null> {
  const at = await folder();
  if (!at) return null;
  const name = await nameOf(url);
  const release = await hold(name, 'shared', PATIENCE);
  const entry = release && (await complete(at, name));
  if (entry) return { file: entry.file, sha256: entry.sha256, release };
  await release?.();
  return null;
}

/** Deletes all that is stored of a URL. */
export async function forget(url: string): Promise<void> {
  const at = await folder();
  if (!at) return;
  const name = await nameOf(url);
  const release = await hold(name, 'exclusive');
  if (!release) throw new Failure('busy', `${fileName(url)} is being loaded; stop that, or wait for it, and delete it then`);
  try {
    await remove(at, ...Object.values(names(name)));
  } finally {
    await release();
  }
}

export async function list(): Promise<StoredModel[]> {
  const at = await folder();
  const out: StoredModel[] = [];
  if (!at) return out;
  for (const name of await stems(at)) {
    const whole = await complete(at, name);
    const entry = whole ?? (await part(at, name));
    if (entry) out.push({ url: entry.url, sha256: entry.sha256, bytes: entry.file.size, complete: whole !== null });
  }
  return out.sort((a, b) => (a.url < b.url ? -1 : 1));
}

/** Removes what is of no use: parts that cannot be continued, files without notes, notes without files. */
export async function sweep(): Promise<void> {
  const at = await folder();
  if (!at) return;
  for (const name of await stems(at)) {
    const release = await hold(name, 'exclusive');
    if (!release) continue;
    try {
      const { file, note, part: partFile, partNote } = names(name);
      await finish(at, name);
      if (!(await complete(at, name))) await remove(at, file, note);
      if (!(await part(at, name))) await remove(at, partFile, partNote);
      for (const other of [note, partNote, `${name}.tuning`]) await remove(at, other + UNFINISHED);
    } catch {
      // A page of an earlier version writes it.
    } finally {
      await release();
    }
  }
}

/** A download that was complete and checked, but whose worker ended before its note had its name. */
async function finish(at: FileSystemDirectoryHandle, name: string): Promise<void> {
  const { file, note, part: partFile, partNote } = names(name);
  const entry = await entryOf(at, file, partNote);
  const whole = entry?.sha256 && entry.file.size === entry.length && !(await fileOf(at, partFile));
  if (whole && !(await readText(at, note))) await rename(at, partNote, note);
}

/** The names that files have before their first dot. */
async function stems(at: FileSystemDirectoryHandle): Promise<Set<string>> {
  const out = new Set<string>();
  for await (const file of at.keys()) out.add(file.split('.', 1)[0] ?? file);
  return out;
}

/** A download that is being written. Where storing fails, for want of room, it forgets the part and continues without. */
export class Writer {
  #at: FileSystemDirectoryHandle;
  #name: string;
  #note: Note;
  #file: FileSystemSyncAccessHandle | null;
  #release: Release;

  private constructor(
    at: FileSystemDirectoryHandle,
    name: string,
    note: Note,
    file: FileSystemSyncAccessHandle,
    release: Release,
  ) {
    this.#at = at;
    this.#name = name;
    this.#note = note;
    this.#file = file;
    this.#release = release;
  }

  /** Opens a URL's part, which keeps its bytes if they can be continued; null where nothing can be stored, as while another page does. */
  static async open(url: string): Promise<Writer | null> {
    const at = await folder();
    if (!at) return null;
    const name = await nameOf(url);
    const release = await hold(name, 'exclusive', PATIENCE);
    if (!release) return null;
    try {
      const old = await part(at, name);
      const handle = await at.getFileHandle(names(name).part, { create: true });
      const file = await handle.createSyncAccessHandle();
      const { validator, length } = old ?? { validator: null, length: null };
      if (!old) file.truncate(0);
      return new Writer(at, name, { url, sha256: '', validator, length }, file, release);
    } catch {
      await release();
      return null;
    }
  }

  /** What was stored by an earlier download, if anything. */
  get part(): { size: number; validator: string; length: number } | null {
    const { validator, length } = this.#note;
    return this.size > 0 && validator !== null && length !== null ? { size: this.size, validator, length } : null;
  }

  /** The bytes that are there. */
  get size(): number {
    return this.#file?.getSize() ?? 0;
  }

  /** Fills `piece` with the bytes from `at`. */
  read(piece: Uint8Array, at: number): number {
    return this.#file?.read(piece, { at }) ?? 0;
  }

  /** Starts over. `validator`: how the rest can be asked for, should the download break off. */
  async begin(validator: string | null): Promise<void> {
    await this.#try(async (file) => {
      file.truncate(0);
      Object.assign(this.#note, { validator, length: null });
      await this.#writeNote();
    });
  }

  /** Notes the whole file's length, and stores nothing of one for which there is no room. */
  async expect(length: number): Promise<void> {
    if (this.#note.length === length) return;
    await this.#try(async () => {
      const { quota, usage } = await navigator.storage.estimate();
      if (quota !== undefined && usage !== undefined && quota - usage < length - this.size) throw new Error('no room');
      this.#note.length = length;
      await this.#writeNote();
    });
  }

  async append(piece: Uint8Array): Promise<void> {
    await this.#try((file) => {
      if (file.write(piece, { at: file.getSize() }) !== piece.length) throw new Error('the disk is full');
    });
  }

  /** The file is complete and has this hash; false where it could not be kept. */
  async complete(sha256: string): Promise<boolean> {
    await this.#try(async (file) => {
      file.flush();
      file.close();
      const own = names(this.#name);
      // Whatever ends this worker meanwhile, the part or the file keeps a note that says what it is.
      this.#note.sha256 = sha256;
      await this.#writeNote();
      await remove(this.#at, own.note);
      await rename(this.#at, own.part, own.file);
      await rename(this.#at, own.partNote, own.note);
    });
    const kept = this.#file !== null;
    this.#file = null;
    await this.#release();
    return kept;
  }

  /** Ends the writing; what can be continued stays. */
  async close(): Promise<void> {
    if (!this.part) return this.discard();
    try {
      this.#file?.flush();
    } catch {
      // The disk is full: what it took is what can be continued.
    }
    this.#file?.close();
    this.#file = null;
    await this.#release();
  }

  /** Ends the writing and forgets the part. */
  async discard(): Promise<void> {
    this.#file?.close();
    this.#file = null;
    const { part: file, partNote } = names(this.#name);
    await remove(this.#at, file, partNote).catch(() => undefined);
    await this.#release();
  }

  async #try(work: (file: FileSystemSyncAccessHandle) => void | Promise<void>): Promise<void> {
    if (!this.#file) return;
    try {
      await work(this.#file);
    } catch {
      await this.discard();
    }
  }

  async #writeNote(): Promise<void> {
    await writeText(this.#at, names(this.#name).partNote, JSON.stringify(this.#note));
  }
}
