/** Tuning caches, which name the kernels that are fastest here: one per adapter, beside the stored files. */
import { folder, nameOf, readText, writeText } from './folder.js';

const TUNING = '.tuning';

const fileOf = async (adapter: string) => (await nameOf(adapter)) + TUNING;

/** The tuning cache of an adapter; it names the device and versions it holds for. */
export async function readTuning(adapter: string): Promise<string | null> {
  const at = await folder();
  return at && readText(at, await fileOf(adapter));
}

/** Keeps an adapter's tuning cache in place of an older one; false where that cannot be. */
export async function writeTuning(adapter: string, cache: string): Promise<boolean> {
  const at = await folder();
  try {
    if (at) await writeText(at, await fileOf(adapter), cache);
    return at !== null;
  } catch {
    return false;
  }
}

export async function deleteTuning(): Promise<void> {
  const at = await folder();
  if (!at) return;
  const names: string[] = [];
  for await (const name of at.keys()) if (name.endsWith(TUNING)) names.push(name);
  // A file that another page is writing stays.
  for (const name of names) await at.removeEntry(name).catch(() => undefined);
}
