/**
 * Loading: files stream through the core onto the device, a tensor at a time. Only what works on the device takes a turn there, so
 * that other models are used while this one is downloaded.
 */
import type { Calls, RawSource } from '../protocol.js';
import type { FileProgress, LoadProgress, ModelInfo } from '../types.js';
import { type Engine, File, Loader, type Model } from '../wasm/guided_diffusion_web.js';
import { codeOf, Failure } from './failure.js';
import { json } from './json.js';
import type { Asker } from './request.js';
import { type How, type Source, open } from './source.js';
import type { Turns } from './turns.js';

export interface Loaded {
  model: Model;
  info: ModelInfo;
}

/** What a load works with. `tuning`: the tuning cache, where kernels were measured here. */
export interface Workplace {
  engine: Engine;
  turns: Turns;
  tuning: string | null;
  asker: Asker;
}

type Report = (progress: LoadProgress) => void;

/** Milliseconds between reports of compiling. */
const OFTEN = 100;

export async function load(
  place: Workplace,
  take: Calls['load']['take'],
  report: Report,
  signal: AbortSignal,
): Promise<Loaded> {
  const damaged = new Set<string>();
  try {
    return await attempt(place, take, damaged, report, signal);
  } catch (error) {
    // A stored file was damaged: it is downloaded again and replaced.
    if (damaged.size === 0 || signal.aborted) throw error;
    return attempt(place, take, damaged, report, signal);
  }
}

async function attempt(
  { engine, turns, tuning, asker }: Workplace,
  { model, classifier, options }: Calls['load']['take'],
  damaged: Set<string>,
  report: Report,
  signal: AbortSignal,
): Promise<Loaded> {
  const how: How = { cache: options.cache ?? true, sha256: options.sha256?.toLowerCase() ?? null, damaged, asker };
  const files: Feed[] = [];
  const loader = new Loader(engine, json(options), tuning ?? undefined);
  let prepared: Model | null = null;
  let reading: Feed | null = null;
  let kernels: LoadProgress['kernels'] = null;
  const progress = (from?: LoadProgress['from']) => report({ ...sum(files, from), kernels });
  try {
    files.push(new Feed('model', await open(model, how, signal), model, how.sha256));
    if (classifier) {
      const own = { ...how, sha256: null, asker: sameOrigin(model, classifier) ? asker : { ...asker, headers: [] } };
      files.push(new Feed('classifier', await open(classifier, own, signal), classifier, null));
    }
    for (const file of files) {
      reading = file;
      await file.header(progress);
      if (file.role === 'model') loader.setModel(file.file);
      else loader.setClassifier(file.file);
    }
    reading = null;
    progress('device');
    prepared = await turns.take(signal, async () => {
      const [before = 0, asked = 0] = engine.compiling();
      const compiling = () => {
        const [done = 0, total = 0] = engine.compiling();
        kernels = { done: done - before, total: total - asked };
        progress('device');
      };
      const timer = setInterval(compiling, OFTEN);
      try {
        const made = (await loader.prepare()) as Model;
        compiling();
        if (signal.aborted) free(made);
        return made;
      } finally {
        clearInterval(timer);
      }
    });
    const own: Model = prepared;
    for (const file of files) {
      reading = file;
      await file.rest((one) => turns.take(signal, () => own.upload(one, file.role === 'classifier')), progress);
    }
    reading = null;
    signal.throwIfAborted();
    prepared.seal();
    for (const file of files) await file.complete();
    const info = JSON.parse(prepared.info()) as Omit<ModelInfo, 'sha256' | 'kept'>;
    const each = <T>(of: (file: Feed) => T) => Object.fromEntries(files.map((file) => [file.role, of(file)])) as { model: T };
    return { model: prepared, info: { ...info, sha256: each((file) => file.sha256), kept: each((file) => file.kept) } };
  } catch (error) {
    if (prepared) free(prepared);
    const wrong = codeOf(error) === 'bad-file' && !signal.aborted;
    for (const file of files) {
      if (wrong && file.url !== null && !(await file.source.intact())) damaged.add(file.url);
      // What was downloaded is worth keeping, unless it is the file that is wrong.
      await file.abandon(!(wrong && file === reading));
    }
    throw error;
  } finally {
    for (const { file } of files) file.free();
    loader.free();
  }
}

/** Whether headers for one may go to the other, too. */
function sameOrigin(model: RawSource, other: RawSource): boolean {
  return model.kind !== 'url' || other.kind !== 'url' || new URL(model.url).origin === new URL(other.url).origin;
}

function free(model: Model): void {
  model.destroy();
  model.free();
}

/** A source that is fed to the core. */
class Feed {
  readonly file: File;
  readonly url: string | null;
  loaded = 0;
  sha256 = '';
  kept = false;
  #pieces: AsyncGenerator<Uint8Array, void, undefined>;
  /** The rest of the piece that the header ended in. */
  #rest: Uint8Array = new Uint8Array();
  #done = false;

  constructor(
    readonly role: FileProgress['role'],
    readonly source: Source,
    raw: Calls['load']['take']['model'],
    private readonly expected: string | null,
  ) {
    this.file = new File(source.name, source.length ?? undefined, raw.kind === 'blob' ? reader(raw.blob) : undefined);
    this.url = raw.kind === 'url' ? raw.url : null;
    this.#pieces = source.pieces();
  }

  /** Feeds the header. */
  async header(progress: () => void): Promise<void> {
    while (!this.file.hasHeader && (await this.#next(progress))) {
      this.#rest = this.#rest.subarray(this.file.push(this.#rest));
    }
    // Throws for a file that is too short for a header.
    if (this.file.length === undefined) this.file.finish();
    else await this.source.expect(this.file.length);
  }

  /** Feeds the tensors, each of which `upload` takes. */
  async rest(upload: (file: File) => Promise<unknown>, progress: () => void): Promise<void> {
    do {
      for (;;) {
        while (this.file.hasTensor) await upload(this.file);
        if (this.#rest.length === 0) break;
        this.#rest = this.#rest.subarray(this.file.push(this.#rest));
      }
    } while (await this.#next(progress));
    this.sha256 = this.file.finish();
    const { name, stored } = this.source;
    if (stored !== null && stored !== this.sha256) throw new Failure('bad-file', `${name}: what is stored of it was damaged`);
    if (this.expected !== null && this.expected !== this.sha256) {
      throw new Failure('bad-file', `${name} has the SHA-256 ${this.sha256}, but ${this.expected} was expected`);
    }
  }

  async complete(): Promise<void> {
    this.#done = true;
    this.kept = await this.source.complete(this.sha256);
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

/** Reads a file at any place, as a .pt file needs. */
function reader(blob: Blob): (from: number, to: number) => Uint8Array {
  const files = new FileReaderSync();
  return (from, to) => new Uint8Array(files.readAsArrayBuffer(blob.slice(from, to)));
}

function sum(files: Feed[], from?: LoadProgress['from']): Omit<LoadProgress, 'kernels'> {
  const each = files.map(({ role, loaded, source }) => ({ role, name: source.name, loaded, total: source.length }));
  const totals = each.map(({ total }) => total);
  const reading = files.find(({ loaded, source }) => loaded < (source.length ?? Infinity)) ?? files.at(-1);
  return {
    loaded: each.reduce((all, { loaded }) => all + loaded, 0),
    total: totals.includes(null) ? null : totals.reduce<number>((all, total) => all + (total ?? 0), 0),
    from: from ?? reading?.source.from ?? 'network',
    files: each,
  };
}
