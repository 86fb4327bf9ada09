/** Where a file's bytes come from: the network, with what the browser keeps of earlier downloads, or a file. */
import { fileName } from '../names.js';
import type { RawSource } from '../protocol.js';
import { lengthOf } from '../response.js';
import { Hash } from '../wasm/guided_diffusion_web.js';
import { Failure, Unanswered } from './failure.js';
import { type Asker, RETRIES, ask, askRest, rest, validatorOf } from './request.js';
import * as storage from './storage.js';

/** Bytes that are read at once from what is stored. */
const PIECE = 1 << 20;

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
  /** The file's own header gives its length. */
  expect(length: number): Promise<void>;
  /** All was read, and has this hash. Resolves to whether it is kept. */
  complete(sha256: string): Promise<boolean>;
  /** Ends it before its end; what was stored so far is kept to be continued, or not. */
  abandon(keep: boolean): Promise<void>;
  /** Whether what is stored still has the hash that it had. */
  intact(): Promise<boolean>;
}

export interface How {
  /** Whether what comes from a URL is kept. */
  cache: boolean;
  /** The expected hash: a stored file with another one is not read. */
  sha256: string | null;
  /** Stored files that are known to be damaged. */
  damaged: Set<string>;
  asker: Asker;
}

export async function open(raw: RawSource, how: How, signal: AbortSignal): Promise<Source> {
  if (raw.kind === 'blob') return new StreamSource(raw.name, raw.blob.stream(), raw.blob.size, 'file', signal);
  if (raw.kind === 'stream') return new StreamSource(raw.name, raw.stream, raw.length, 'network', signal);
  const { url } = raw;
  const stored = how.cache && !how.damaged.has(url) ? await storage.open(url) : null;
  if (stored && (how.sha256 === null || stored.sha256 === how.sha256)) {
    return new StreamSource(fileName(url), stored.file.stream(), stored.file.size, 'cache', signal, stored);
  }
  await stored?.release();
  return Download.start(url, how, signal);
}

class StreamSource implements Source {
  constructor(
    readonly name: string,
    private readonly stream: ReadableStream<Uint8Array>,
    public length: number | null,
    readonly from: Source['from'],
    private readonly signal: AbortSignal,
    private readonly kept: storage.Stored | null = null,
  ) {}

  get stored(): string | null {
    return this.kept?.sha256 ?? null;
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* read(this.stream, this.signal, (cause) => {
      const what = this.from === 'network' ? 'the download broke off' : 'it could not be read';
      return new Failure(this.from === 'network' ? 'network' : 'bad-file', `${this.name}: ${what} (${cause})`, { cause });
    });
  }

  async expect(length: number): Promise<void> {
    this.length = length;
  }

  async complete(): Promise<boolean> {
    await this.kept?.release();
    return this.kept !== null;
  }

  async abandon(): Promise<void> {
    await this.stream.cancel().catch(() => undefined);
    await this.kept?.release();
  }

  async intact(): Promise<boolean> {
    if (!this.kept) return true;
    const hash = new Hash();
    try {
      for await (const piece of read(this.kept.file.stream(), this.signal, (cause) => new Failure('bad-file', String(cause), { cause }))) hash.push(piece);
      return hash.finish() === this.kept.sha256;
    } catch {
      // What cannot be read is damaged, but nothing is known where it was only stopped.
      return this.signal.aborted;
    } finally {
      hash.free();
    }
  }
}

/** A download, continued where an earlier one broke off, and stored as it comes. */
class Download implements Source {
  readonly name: string;
  readonly stored = null;
  from: Source['from'] = 'network';
  #read = 0;
  /** The server has another file now. */
  #changed = false;

  private constructor(
    private readonly url: string,
    private readonly asker: Asker,
    /** null where all is stored already. */
    private response: Response | null,
    /** Bytes that are stored already, before those of the response. */
    private readonly kept: number,
    public length: number | null,
    private readonly validator: string | null,
    private readonly writer: storage.Writer | null,
    private readonly signal: AbortSignal,
  ) {
    this.name = fileName(url);
  }

  static async start(url: string, { cache, asker }: How, signal: AbortSignal): Promise<Download> {
    const writer = cache ? await storage.Writer.open(url) : null;
    try {
      const part = writer?.part;
      if (part) {
        const { size, length, validator } = part;
        const all = size === length;
        const rest = all ? null : await askAgain(asker, url, { from: size, length, validator }, signal);
        if (all || rest) return new Download(url, asker, rest, size, length, validator, writer, signal);
      }
      // What is stored by us need not be in the browser's own cache too.
      const response = await ask(asker, url, writer ? { cache: 'no-store' } : {}, signal);
      const validator = validatorOf(response);
      await writer?.begin(validator);
      return new Download(url, asker, response, 0, lengthOf(response), validator, writer, signal);
    } catch (error) {
      await writer?.close();
      throw error;
    }
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    this.from = 'cache';
    while (this.#read < this.kept) {
      await breath();
      this.signal.throwIfAborted();
      const piece = new Uint8Array(Math.min(PIECE, this.kept - this.#read));
      if (this.writer?.read(piece, this.#read) !== piece.length) {
        throw new Failure('bad-file', `${this.name}: its stored part could not be read; load it again`);
      }
      this.#read += piece.length;
      yield piece;
    }
    if (!this.response) return;
    this.from = 'network';
    for (const pause of [...RETRIES, null]) {
      try {
        yield* this.#body(this.response);
        if (this.length === null || this.#read >= this.length) return;
        throw new Failure('network', `${this.name}: the download ended at byte ${this.#read} of ${this.length}`);
      } catch (error) {
        const broken = error instanceof Failure && error.code === 'network';
        if (!broken || pause === null || this.length === null || this.validator === null) throw error;
        await rest(pause, this.signal);
        this.response = await this.#continued(this.length, this.validator);
      }
    }
  }

  async #continued(length: number, validator: string): Promise<Response> {
    // Where there is no network either, the next try may find it.
    const part = { from: this.#read, length, validator };
    const response = await askRest(this.asker, this.url, part, this.signal).catch((error: unknown) => {
      this.signal.throwIfAborted();
      if (error instanceof Failure) return Response.error();
      throw error;
    });
    if (response) return response;
    this.#changed = true;
    throw new Failure('network', `${this.name}: the server’s file has changed meanwhile; load it again`);
  }

  async *#body({ body, bodyUsed }: Response): AsyncGenerator<Uint8Array, void, undefined> {
    if (!body || bodyUsed) throw new Failure('network', `${this.name}: the server cannot be reached`);
    const failed = (cause: unknown) => new Failure('network', `${this.name}: the download broke off (${cause})`, { cause });
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

  async complete(sha256: string): Promise<boolean> {
    return (await this.writer?.complete(sha256)) ?? false;
  }

  async abandon(keep: boolean): Promise<void> {
    await this.response?.body?.cancel().catch(() => undefined);
    if (keep && !this.#changed) await this.writer?.close();
    else await this.writer?.discard();
  }

  async intact(): Promise<boolean> {
    return true;
  }
}

/**
 * The rest of a file, asked for as often as a broken download. A server of another origin may not allow such a request, which looks
 * like a network that fails: null then, so that the whole is asked for.
 */
async function askAgain(asker: Asker, url: string, part: Parameters<typeof askRest>[2], signal: AbortSignal): Promise<Response | null> {
  for (const pause of [...RETRIES, null]) {
    try {
      return await askRest(asker, url, part, signal);
    } catch (error) {
      if (signal.aborted || !(error instanceof Unanswered)) throw error;
      if (pause !== null) await rest(pause, signal);
      else if (new URL(url).origin === self.origin) throw error;
    }
  }
  return null;
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

/** Lets the worker hear its messages, one of which may be to stop. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
