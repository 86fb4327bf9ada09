/** Tables of the kernels that are fastest here, by adapter, beside the stored files. */
import { folder, nameOf, readText, writeText } from './folder.js';

const TABLE = '.table';

const tableOf = async (adapter: string) => (await nameOf(adapter)) + TABLE;

/** The table of an adapter; it names the device and versions it holds for. */
export async function readTable(adapter: string): Promise<string | null> {
  const at = await folder();
  return at && readText(at, await tableOf(adapter));
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
