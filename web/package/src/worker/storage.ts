/**
 * Model files in the browser's private file system, by URL: the bytes in one file, what is known of them in another. Beside
 * them lie the tables of the kernels that are fastest here, by adapter.
 *
 * An interrupted download stays, with the validator that a server needs to continue it. A browser without such a file
 * system, or a page that may not use it, does without: then nothing is stored.
 */
import type { StoredModel } from '../types.js';

const FOLDER = 'guided-diffusion';
const TABLE = '.table';

/** What is known of a stored file. */
interface Note {
  url: string;
  /** The content's hash; empty while it is incomplete. */
  sha256: string;
  /** A strong entity tag or a date, by which a download can be continued. */
  validator: string | null;
  /** The whole file's length as its own header tells; null before that was read. */
  length: number | null;
}

interface Entry extends Note {
  /** The bytes as they are now. */
  file: File;
}

async function folder(): Promise<FileSystemDirectoryHandle | null> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return null;
  }
}

/** The name of a URL's files: its hash, since a URL is no file name. */
async function nameOf(text: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function read(at: FileSystemDirectoryHandle, name: string): Promise<Entry | null> {
  try {
    const note = JSON.parse(await (await (await at.getFileHandle(`${name}.json`)).getFile()).text()) as Note;
    return { ...note, file: await (await at.getFileHandle(`${name}.bin`)).getFile() };
  } catch {
    // Not there, or half written when the browser was closed.
    return null;
  }
}

async function remove(at: FileSystemDirectoryHandle, name: string): Promise<void> {
  for (const file of [`${name}.json`, `${name}.bin`]) await at.removeEntry(file).catch(() => undefined);
}

/** What is stored of a URL. */
export async function find(url: string): Promise<Entry | null> {
  const at = await folder();
  return at && read(at, await nameOf(url));
}

export async function forget(url: string): Promise<void> {
  const at = await folder();
  if (at) await remove(at, await nameOf(url));
}

export async function list(): Promise<StoredModel[]> {
  const at = await folder();
  const out: StoredModel[] = [];
  if (!at) return out;
  for await (const file of at.keys()) {
    const entry = file.endsWith('.json') ? await read(at, file.slice(0, -'.json'.length)) : null;
    if (entry) {
      const { url, sha256 } = entry;
      out.push({ url, sha256, bytes: entry.file.size, complete: sha256 !== '' });
    }
  }
  return out.sort((a, b) => (a.url < b.url ? -1 : 1));
}

/** The table of an adapter; it tells itself which device and versions it holds for. */
export async function readTable(adapter: string): Promise<string | null> {
  const at = await folder();
  try {
    return at && (await (await (await at.getFileHandle(await tableOf(adapter))).getFile()).text());
  } catch {
    return null;
  }
}

/** Keeps an adapter's table in place of an older one; false where that cannot be. */
export async function writeTable(adapter: string, table: string): Promise<boolean> {
  const at = await folder();
  try {
    if (at) await writeText(at, await tableOf(adapter), table);
    return at !== null;
  } catch {
    return false;
  }
}

export async function deleteTables(): Promise<void> {
  const at = await folder();
  if (!at) return;
  const names: string[] = [];
  for await (const name of at.keys()) if (name.endsWith(TABLE)) names.push(name);
  // One that another page is writing stays.
  for (const name of names) await at.removeEntry(name).catch(() => undefined);
}

const tableOf = async (adapter: string) => (await nameOf(adapter)) + TABLE;

async function writeText(at: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const file = await (await at.getFileHandle(name, { create: true })).createSyncAccessHandle();
  try {
    file.truncate(0);
    file.write(new TextEncoder().encode(text), { at: 0 });
    file.flush();
  } finally {
    file.close();
  }
}

/** A file that is being written. Where storing fails, for want of room, it forgets the file and goes on without. */
export class Writer {
  #at: FileSystemDirectoryHandle;
  #name: string;
  #note: Note;
  #file: FileSystemSyncAccessHandle | null;

  private constructor(at: FileSystemDirectoryHandle, name: string, note: Note, file: FileSystemSyncAccessHandle) {
    this.#at = at;
    this.#name = name;
    this.#note = note;
    this.#file = file;
  }

  /** Opens a URL's file, which keeps its bytes; null where that cannot be, as while another page writes it. */
  static async open(url: string): Promise<Writer | null> {
    const at = await folder();
    if (!at) return null;
    const name = await nameOf(url);
    try {
      const handle = await at.getFileHandle(`${name}.bin`, { create: true });
      const file = await handle.createSyncAccessHandle();
      return new Writer(at, name, { url, sha256: '', validator: null, length: null }, file);
    } catch {
      return null;
    }
  }

  /** The bytes that are there. */
  get size(): number {
    return this.#file?.getSize() ?? 0;
  }

  /** Fills `piece` with the bytes from `at`. */
  read(piece: Uint8Array, at: number): number {
    return this.#file?.read(piece, { at }) ?? 0;
  }

  /** Keeps `size` bytes, and notes how the rest can be asked for. */
  async begin(size: number, validator: string | null, length: number | null): Promise<void> {
    await this.#try(async (file) => {
      file.truncate(size);
      Object.assign(this.#note, { validator, length });
      await this.#writeNote();
    });
  }

  /** Notes the whole file's length. */
  async expect(length: number): Promise<void> {
    if (this.#note.length === length) return;
    await this.#try(async () => {
      this.#note.length = length;
      await this.#writeNote();
    });
  }

  async append(piece: Uint8Array): Promise<void> {
    await this.#try((file) => {
      if (file.write(piece, { at: file.getSize() }) !== piece.length) throw new Error('the disk is full');
    });
  }

  /** The file is complete and has this hash. */
  async complete(sha256: string): Promise<void> {
    await this.#try(async (file) => {
      file.flush();
      this.#note.sha256 = sha256;
      await this.#writeNote();
    });
  }

  /** Ends the writing; what is there stays, to be continued. */
  close(): void {
    this.#file?.flush();
    this.#file?.close();
    this.#file = null;
  }

  /** Ends the writing and forgets the file. */
  async discard(): Promise<void> {
    this.#file?.close();
    this.#file = null;
    await remove(this.#at, this.#name);
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
    await writeText(this.#at, `${this.#name}.json`, JSON.stringify(this.#note));
  }
}
