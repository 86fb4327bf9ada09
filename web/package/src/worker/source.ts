/** Where a file's bytes come from: the network, with what the browser keeps of earlier downloads, or a file. */
import { fileName } from '../names.js';
import type { RawSource } from '../protocol.js';
import { lengthOf } from '../response.js';
import { Failure } from './failure.js';
import * as storage from './storage.js';

/** Bytes that are read at once from what is stored. */
const PIECE = 1 << 20;
/** Pauses before a broken download is continued, in milliseconds. */
const RETRIES = [500, 2000];
/** What is stored once, by us, need not be in the browser's own cache too. */
const UNCACHED: RequestInit = { cache: 'no-store' };

export interface Source {
  /** For messages. */
  readonly name: string;
  /** Bytes of the whole file, where they are known. */
  readonly length: number | null;
  /** The hash that the content had when it was stored, where it comes from there. */
  readonly stored: string | null;
  /** Where the last piece came from. */
  from: 'network' | 'cache' | 'file';
  pieces(): AsyncGenerator<Uint8Array, void, undefined>;
  /** The file itself tells its length. */
  expect(length: number): Promise<void>;
  /** All was read, and has this hash. */
  complete(sha256: string): Promise<void>;
  /** Ends it before its end; what was stored so far is kept to be continued, or not. */
  abandon(keep: boolean): Promise<void>;
}

export async function open(raw: RawSource, cache: boolean, sha256: string | null, signal: AbortSignal): Promise<Source> {
  if (raw.kind === 'blob') return new StreamSource(raw.name, raw.blob.stream(), raw.blob.size, 'file', null, signal);
  if (raw.kind === 'stream') return new StreamSource(raw.name, raw.stream, raw.length, 'network', null, signal);
  if (cache) {
    const entry = await storage.find(raw.url);
    if (entry?.sha256 && (sha256 === null || entry.sha256 === sha256)) {
      const name = fileName(raw.url);
      return new StreamSource(name, entry.file.stream(), entry.file.size, 'cache', entry.sha256, signal);
    }
    if (entry?.sha256) await storage.forget(raw.url);
  }
  return Download.start(raw.url, cache, signal);
}

class StreamSource implements Source {
  constructor(
    readonly name: string,
    private readonly stream: ReadableStream<Uint8Array>,
    public length: number | null,
    readonly from: Source['from'],
    readonly stored: string | null,
    private readonly signal: AbortSignal,
  ) {}

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* read(this.stream, this.signal, (error) => {
      const what = this.from === 'network' ? 'the download broke off' : 'it could not be read';
      return new Failure(this.from === 'network' ? 'network' : 'bad-file', `${this.name}: ${what} (${error})`);
    });
  }

  async expect(length: number): Promise<void> {
    this.length = length;
  }

  async complete(): Promise<void> {}

  async abandon(): Promise<void> {
    await this.stream.cancel().catch(() => undefined);
  }
}

/** A download, continued where an earlier one broke off, and stored as it comes. */
class Download implements Source {
  readonly name: string;
  readonly stored = null;
  from: Source['from'] = 'network';
  #read = 0;

  private constructor(
    private readonly url: string,
    private response: Response,
    /** Bytes that are stored already, before those of the response. */
    private readonly kept: number,
    public length: number | null,
    private readonly validator: string | null,
    private readonly writer: storage.Writer | null,
    private readonly signal: AbortSignal,
  ) {
    this.name = fileName(url);
  }

  static async start(url: string, cache: boolean, signal: AbortSignal): Promise<Download> {
    const note = cache ? await storage.find(url) : null;
    const writer = cache ? await storage.Writer.open(url) : null;
    try {
      const size = writer?.size ?? 0;
      if (size > 0 && note?.validator && note.length !== null) {
        const { validator, length } = note;
        const rest = await continued(url, size, length, validator, signal);
        if (rest) {
          await writer?.begin(size, validator, length);
          return new Download(url, rest, size, length, validator, writer, signal);
        }
      }
      const response = await ask(url, cache ? UNCACHED : {}, signal);
      const [validator, length] = [validatorOf(response), lengthOf(response)];
      await writer?.begin(0, validator, null);
      return new Download(url, response, 0, length, validator, writer, signal);
    } catch (error) {
      if (note) writer?.close();
      else await writer?.discard();
      throw error;
    }
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    this.from = 'cache';
    while (this.#read < this.kept) {
      const piece = new Uint8Array(Math.min(PIECE, this.kept - this.#read));
      if (this.writer?.read(piece, this.#read) !== piece.length) {
        throw new Failure('bad-file', `${this.name}: its stored part could not be read; load it again`);
      }
      this.#read += piece.length;
      yield piece;
    }
    this.from = 'network';
    for (const pause of [...RETRIES, null]) {
      try {
        yield* this.#body();
        if (this.length === null || this.#read >= this.length) return;
        throw new Failure('network', `${this.name}: the download ended at byte ${this.#read} of ${this.length}`);
      } catch (error) {
        if (!(error instanceof Failure) || error.code !== 'network' || pause === null) throw error;
        if (this.length === null || this.validator === null) throw error;
        await rest(pause, this.signal);
        const response = await continued(this.url, this.#read, this.length, this.validator, this.signal);
        if (response) this.response = response;
      }
    }
  }

  async *#body(): AsyncGenerator<Uint8Array, void, undefined> {
    const { body } = this.response;
    if (!body || this.response.bodyUsed) throw new Failure('network', `${this.name}: the server cannot be reached`);
    const failed = (error: unknown) => new Failure('network', `${this.name}: the download broke off (${error})`);
    for await (const piece of read(body, this.signal, failed)) {
      await this.writer?.append(piece);
      this.#read += piece.length;
      yield piece;
    }
  }

  async expect(length: number): Promise<void> {
    this.length = length;
    await this.writer?.expect(length);
  }

  async complete(sha256: string): Promise<void> {
    await this.writer?.complete(sha256);
    this.writer?.close();
  }

  async abandon(keep: boolean): Promise<void> {
    await this.response.body?.cancel().catch(() => undefined);
    if (keep && this.validator !== null && this.length !== null) this.writer?.close();
    else await this.writer?.discard();
  }
}

/** A stream's pieces, small enough to be copied around. */
async function* read(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal,
  failed: (error: unknown) => Failure,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  const stop = () => void reader.cancel().catch(() => undefined);
  signal.addEventListener('abort', stop);
  try {
    for (;;) {
      const next = await reader.read().catch((error: unknown) => {
        signal.throwIfAborted();
        throw failed(error);
      });
      signal.throwIfAborted();
      if (next.done) return;
      for (let at = 0; at < next.value.length; at += PIECE) yield next.value.subarray(at, at + PIECE);
    }
  } finally {
    signal.removeEventListener('abort', stop);
    reader.releaseLock();
  }
}

async function ask(url: string, options: RequestInit, signal: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { ...options, signal });
  } catch (error) {
    signal.throwIfAborted();
    const offline = navigator.onLine ? '' : '; this browser is offline';
    throw new Failure('network', `${url} cannot be downloaded (${error})${offline}`);
  }
  if (response.ok) return response;
  await response.body?.cancel().catch(() => undefined);
  throw new Failure('network', `${url}: the server answered ${response.status} ${response.statusText}`.trim());
}

/**
 * The rest of a file of `length` bytes from byte `from`; null where the server does not have that file any more, or gives no
 * such part. A part of a compressed file is none: its whole has another length.
 */
async function continued(
  url: string,
  from: number,
  length: number,
  validator: string,
  signal: AbortSignal,
): Promise<Response | null> {
  const headers = { range: `bytes=${from}-`, 'if-range': validator };
  // A server of another origin may not allow such a request, and one that has nothing left refuses it.
  const response = await ask(url, { ...UNCACHED, headers }, signal).catch(() => null);
  signal.throwIfAborted();
  const range = `bytes ${from}-${length - 1}/${length}`;
  if (response?.status === 206 && response.headers.get('content-range') === range) return response;
  await response?.body?.cancel().catch(() => undefined);
  return null;
}

/** Some milliseconds, unless the signal comes first. */
async function rest(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
  signal.throwIfAborted();
}

/**
 * What a server accepts as a proof that its file is still the same: weak tags are none, and a date counts seconds, so that it
 * proves nothing of a file that may have changed since in the same one (RFC 9110, 8.8.2.2).
 */
function validatorOf(response: Response): string | null {
  const tag = response.headers.get('etag');
  if (tag && !tag.startsWith('W/')) return tag;
  const date = response.headers.get('last-modified');
  // Servers of other origins hide their clock; ours is near enough to it.
  const now = Date.parse(response.headers.get('date') ?? '') || Date.now();
  return date && now - Date.parse(date) >= 60_000 ? date : null;
}
