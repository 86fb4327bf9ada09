/** Small functions that need no document: texts, and waiting. */

/** A text that begins with a capital. */
export const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** A file name of these words. */
export const slug = (words: string) => words.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');

export function megabytes(bytes: number): string {
  const mb = bytes / 1e6;
  return mb >= 1000 ? `${(mb / 1000).toFixed(1)} GB` : `${mb >= 100 ? mb.toFixed(0) : mb.toFixed(1)} MB`;
}

export function seconds(milliseconds: number): string {
  const s = milliseconds / 1000;
  return s < 9.95 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`;
}

export const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
