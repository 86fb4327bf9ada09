/** What a URL's file is called, for people: its last part, decoded where it can be. */
export function fileName(url: string): string {
  const last = new URL(url).pathname.split('/').pop() ?? '';
  try {
    return decodeURIComponent(last) || url;
  } catch {
    return last; // a lone % is not an escape
  }
}
