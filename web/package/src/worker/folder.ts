/**
 * The folder of the browser's private file system in which the package stores. A browser without such a file system, or a page
 * that may not use it, does without: then nothing is stored.
 */

const FOLDER = 'guided-diffusion';
/** Ends the name of what is being written. */
export const UNFINISHED = '.tmp';

/** Not in TypeScript's library yet; Chrome 110, Firefox 111 and Safari 15.2 have it. */
interface Movable {
  move(name: string): Promise<void>;
}

export async function folder(): Promise<FileSystemDirectoryHandle | null> {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return null;
  }
}

/** The name of the files of a URL or an adapter: its hash, since it cannot be a file name. */
export async function nameOf(text: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export async function fileOf(at: FileSystemDirectoryHandle, name: string): Promise<File | null> {
  try {
    return await (await at.getFileHandle(name)).getFile();
  } catch {
    return null;
  }
}

export async function readText(at: FileSystemDirectoryHandle, name: string): Promise<string | null> {
  return (await (await fileOf(at, name))?.text().catch(() => null)) ?? null;
}

/** Writes to a temporary file and renames that: a browser that is closed meanwhile leaves no half of it. */
export async function writeText(at: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const unfinished = name + UNFINISHED;
  const file = await (await at.getFileHandle(unfinished, { create: true })).createSyncAccessHandle();
  try {
    file.truncate(0);
    file.write(new TextEncoder().encode(text), { at: 0 });
    file.flush();
  } finally {
    file.close();
  }
  await rename(at, unfinished, name);
}

/** Renames a file to `to`, in place of what has that name. */
export async function rename(at: FileSystemDirectoryHandle, from: string, to: string): Promise<void> {
  const handle = (await at.getFileHandle(from)) as FileSystemFileHandle & Movable;
  // Not all browsers replace a file that is there.
  await remove(at, to);
  await handle.move(to);
}

export async function remove(at: FileSystemDirectoryHandle, ...names: string[]): Promise<void> {
  for (const name of names) {
    await at.removeEntry(name).catch((error: unknown) => {
      if (!(error instanceof DOMException && error.name === 'NotFoundError')) throw error;
    });
  }
}
