/** Requests for files: what is asked, what is tried again, and what a failure means. */
import type { Event, RawResponse } from '../protocol.js';
import { Failure, Unanswered } from './failure.js';

/** Pauses before a request or a broken download is tried again, in milliseconds. */
export const RETRIES = [500, 2000];
/** Answers of servers that are busy: too early, too many requests, out of order for now. */
const TRANSIENT = [408, 425, 429, 500, 502, 503, 504];
/** The longest pause that a server may ask for, in milliseconds. */
const LONGEST = 10_000;

/** How a page has its files requested. */
export interface Asker {
  /** They may be secrets, of one origin. */
  headers: [string, string][];
  fetch: (url: string, init: RequestInit & { headers: Headers; signal: AbortSignal }) => Promise<Response>;
}

/** Answers of the page's own `fetch`, by request. */
export class PageFetch {
  #next = 0;
  #waiting = new Map<number, (response: RawResponse | string) => void>();

  constructor(private readonly emit: (event: Event) => void) {}

  readonly fetch: Asker['fetch'] = async (url, { headers, signal }) => {
    const request = this.#next++;
    const response = await new Promise<RawResponse | string>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      this.#waiting.set(request, resolve);
      this.emit({ kind: 'fetch', request, url, headers: [...headers] });
    });
    if (typeof response === 'string') throw new Error(response);
    const { body, ...init } = response;
    return new Response([204, 304].includes(init.status) ? null : body, init);
  };

  answer(request: number, response: RawResponse | string): void {
    this.#waiting.get(request)?.(response);
    this.#waiting.delete(request);
  }
}

/** A request that waits for a busy server, but not for long. `url`'s response, whatever its status says otherwise. */
async function patiently(asker: Asker, url: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
  const headers = new Headers([...asker.headers, ...new Headers(init.headers)]);
  for (const pause of [...RETRIES, null]) {
    let response: Response;
    try {
      response = await asker.fetch(url, { ...init, headers, signal });
    } catch (cause) {
      signal.throwIfAborted();
      throw new Unanswered(`${url} cannot be downloaded (${cause})${whyNot(url)}`, { cause });
    }
    if (pause === null || !TRANSIENT.includes(response.status)) return response;
    await response.body?.cancel().catch(() => undefined);
    await rest(Math.min(LONGEST, 1000 * Number(response.headers.get('retry-after')) || pause), signal);
  }
  throw new Failure('internal', 'a request was given up without an answer');
}

/** What browsers do not say of a request without an answer. */
function whyNot(url: string): string {
  if (!navigator.onLine) return '; this browser is offline';
  const cors = '; the server is down, or does not allow this page by CORS (Access-Control-Allow-Origin)';
  return new URL(url).origin === self.origin ? '' : cors;
}

/** Refuses an answer that is not a success. */
async function accepted(url: string, response: Response): Promise<Response> {
  if (response.ok) return response;
  await response.body?.cancel().catch(() => undefined);
  throw new Failure('network', `${url}: the server answered ${response.status} ${response.statusText}`.trim());
}

export async function ask(asker: Asker, url: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
  return accepted(url, await patiently(asker, url, init, signal));
}

/**
 * The rest of a file of `length` bytes from byte `from`; null where the server does not have that file any more, or answers
 * with another range. A range of a compressed file does not do: its whole has another length.
 */
export async function askRest(
  asker: Asker,
  url: string,
  { from, length, validator }: { from: number; length: number; validator: string },
  signal: AbortSignal,
): Promise<Response | null> {
  const headers = { range: `bytes=${from}-`, 'if-range': validator };
  const response = await patiently(asker, url, { cache: 'no-store', headers }, signal);
  if (response.status === 206 && response.headers.get('content-range') === `bytes ${from}-${length - 1}/${length}`) return response;
  // It refuses the part, or it gives something else.
  if (response.ok || [412, 416].includes(response.status)) {
    await response.body?.cancel().catch(() => undefined);
    return null;
  }
  return accepted(url, response);
}

/** Some milliseconds, unless the signal comes first. */
export async function rest(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
  signal.throwIfAborted();
}

/**
 * What a server accepts as a proof that its file is still the same: a weak tag does not do, and a date counts seconds, so that it
 * proves nothing of a file that may have changed since in the same one (RFC 9110, 8.8.2.2).
 */
export function validatorOf(response: Response): string | null {
  const tag = response.headers.get('etag');
  if (tag && !tag.startsWith('W/')) return tag;
  const date = response.headers.get('last-modified');
  // Servers of other origins hide their clock; ours is near enough to it.
  const now = Date.parse(response.headers.get('date') ?? '') || Date.now();
  return date && now - Date.parse(date) >= 60_000 ? date : null;
}
