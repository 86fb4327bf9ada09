/** Loading: files stream through the core onto the device, a tensor at a time. */
import type { Calls } from '../protocol.js';
import type { LoadProgress, ModelInfo } from '../types.js';
import { type Engine, File, Loader, type Model } from '../wasm/guided_diffusion_web.js';
import { codeOf, Failure } from './failure.js';
import { open, type Source } from './source.js';
import * as storage from './storage.js';

type Report = (progress: LoadProgress) => void;

export interface Loaded {
  model: Model;
  info: ModelInfo;
}

/** A stored file is not what was stored: it is gone now, and the load can be tried again. */
class Stale extends Error {}

/** `table`: the kernels that are fastest here, where they were measured. */
export async function load(
  engine: Engine,
  table: string | null,
  take: Calls['load']['take'],
  report: Report,
  signal: AbortSignal,
): Promise<Loaded> {
  try {
    return await attempt(engine, table, take, report, signal);
  } catch (error) {
    if (!(error instanceof Stale)) throw error;
    return attempt(engine, table, take, report, signal);
  }
}

async function attempt(
  engine: Engine,
  table: string | null,
  { model, classifier, options }: Calls['load']['take'],
  report: Report,
  signal: AbortSignal,
): Promise<Loaded> {
  const cache = options.cache ?? true;
  const sha256 = options.sha256?.toLowerCase() ?? null;
  const files: Feed[] = [];
  const loader = new Loader(engine, JSON.stringify(options), table ?? undefined);
  let prepared: Model | null = null;
  const progress = (from?: LoadProgress['from']) => report(sum(files, from));
  try {
    files.push(new Feed(await open(model, cache, sha256, signal), model.kind === 'url' ? model.url : null, sha256));
    if (classifier) {
      const url = classifier.kind === 'url' ? classifier.url : null;
      files.push(new Feed(await open(classifier, cache, null, signal), url, null));
    }
    for (const [k, file] of files.entries()) {
      await file.header(progress);
      if (k === 0) loader.setModel(file.file);
      else loader.setClassifier(file.file);
    }
    progress('device');
    prepared = (await loader.prepare()) as Model;
    signal.throwIfAborted();
    const hashes: string[] = [];
    for (const [k, file] of files.entries()) hashes.push(await file.rest(prepared, k > 0, progress));
    prepared.seal();
    const info = JSON.parse(prepared.info()) as Omit<ModelInfo, 'sha256'>;
    const [own = '', guide] = hashes;
    signal.throwIfAborted();
    return { model: prepared, info: { ...info, sha256: { model: own, ...(guide && { classifier: guide }) } } };
  } catch (error) {
    prepared?.destroy();
    prepared?.free();
    // What was downloaded is worth keeping, unless it is the file that is wrong.
    const keep = signal.aborted || ['network', 'device-lost', 'out-of-memory'].includes(codeOf(error) ?? '');
    for (const file of files) await file.abandon(keep);
    throw error;
  } finally {
    for (const { file } of files) file.free();
    loader.free();
  }
}

/** A source that is fed to the core. */
class Feed {
  readonly file: File;
  loaded = 0;
  #pieces: AsyncGenerator<Uint8Array, void, undefined>;
  /** The rest of the piece that the header ended in. */
  #rest: Uint8Array = new Uint8Array();
  #done = false;

  constructor(
    readonly source: Source,
    private readonly url: string | null,
    private readonly expected: string | null,
  ) {
    this.file = new File(source.name, source.length ?? undefined);
    this.#pieces = source.pieces();
  }

  /** Feeds the header. */
  async header(progress: () => void): Promise<void> {
    while (!this.file.hasHeader && (await this.#next(progress))) {
      this.#rest = this.#rest.subarray(this.file.push(this.#rest));
    }
    // Of a file that is too short for one, this tells so.
    if (this.file.length === undefined) this.file.finish();
    else await this.source.expect(this.file.length);
  }

  /** Feeds the tensors, and returns the file's hash. */
  async rest(model: Model, isClassifier: boolean, progress: () => void): Promise<string> {
    do {
      for (;;) {
        while (this.file.hasTensor) await model.upload(this.file, isClassifier);
        if (this.#rest.length === 0) break;
        this.#rest = this.#rest.subarray(this.file.push(this.#rest));
      }
    } while (await this.#next(progress));
    const sha256 = this.file.finish();
    const { name, stored } = this.source;
    if (stored !== null && stored !== sha256) {
      if (this.url) await storage.forget(this.url);
      throw new Stale();
    }
    if (this.expected !== null && this.expected !== sha256) {
      throw new Failure('bad-file', `${name} has the SHA-256 ${sha256}, but ${this.expected} was expected`);
    }
    await this.source.complete(sha256);
    this.#done = true;
    return sha256;
  }

  async abandon(keep: boolean): Promise<void> {
    if (this.#done) return;
    await this.#pieces.return().catch(() => undefined);
    await this.source.abandon(keep);
  }

  async #next(progress: () => void): Promise<boolean> {
    const next = await this.#pieces.next();
    if (next.done) return false;
    this.#rest = next.value;
    this.loaded += next.value.length;
    progress();
    return true;
  }
}

function sum(files: Feed[], from?: LoadProgress['from']): LoadProgress {
  const totals = files.map(({ source }) => source.length);
  const reading = files.find(({ loaded, source }) => loaded < (source.length ?? Infinity)) ?? files.at(-1);
  return {
    loaded: files.reduce((all, { loaded }) => all + loaded, 0),
    total: totals.includes(null) ? null : totals.reduce<number>((all, total) => all + (total ?? 0), 0),
    from: from ?? reading?.source.from ?? 'network',
  };
}
