/** The package's entry: a device and a worker that works with it. */
import { browsers } from './browsers.js';
import { Client } from './client.js';
import { asyncDispose } from './dispose.js';
import { checked, GuidedDiffusionError } from './errors.js';
import { type Model, modelOf } from './model.js';
import { fileName } from './names.js';
import { check } from './options.js';
import type { RawResponse, RawSource } from './protocol.js';
import { lengthOf } from './response.js';
import type { AdapterInfo, EngineOptions, LoadOptions, LoadProgress, ModelSource, StorageRoom, StoredModel } from './types.js';

/** A GPU that is open, and the worker that computes on it: what everything begins with. Its calls are done one after the other. */
export class GuidedDiffusion {
  #client: Client;

  private constructor(
    client: Client,
    /** The adapter that the browser gave. */
    readonly adapter: AdapterInfo,
  ) {
    this.#client = client;
  }

  /** Whether this browser offers a GPU. Opens nothing; where it does not, the error of `create` says why. */
  static async isSupported(): Promise<boolean> {
    if (!globalThis.navigator?.gpu) return false;
    return (await navigator.gpu.requestAdapter().catch(() => null)) !== null;
  }

  /** The files that are kept in the browser, interrupted downloads included. Opens no GPU. */
  static stored(options: Pick<EngineOptions, 'workerUrl'> = {}): Promise<StoredModel[]> {
    return briefly(options, (client) => client.call('stored', null));
  }

  /** Deletes one of the stored files. Opens no GPU. Fails with `busy` while the file is being loaded, here or in another tab. */
  static async deleteStored(url: string, options: Pick<EngineOptions, 'workerUrl'> = {}): Promise<void> {
    await briefly(options, (client) => client.call('deleteStored', { url: absolute(url, 'url').href }));
  }

  /**
   * Starts a worker and opens the GPU. Fails with `no-webgpu`, `no-adapter`, `bad-options`, `network` where the worker's script or the
   * wasm cannot be loaded, or `internal`.
   */
  static async create(options: EngineOptions = {}): Promise<GuidedDiffusion> {
    if (!globalThis.navigator?.gpu) throw new GuidedDiffusionError('no-webgpu', whyNoWebGpu());
    check('create', options, 'create');
    const { signal, powerPreference } = options;
    signal?.throwIfAborted();
    const client = clientOf(options);
    const stop = () => client.end();
    signal?.addEventListener('abort', stop);
    try {
      const wasmUrl = options.wasmUrl ? absolute(options.wasmUrl, 'wasmUrl').href : null;
      const adapter = await client.call('open', { lowPower: powerPreference === 'low-power', wasmUrl }, { signal });
      return new GuidedDiffusion(client, adapter);
    } catch (error) {
      client.end();
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  /** Resolves when the device is lost, to an error to show: then create a new engine. Images are kept. */
  get lost(): Promise<GuidedDiffusionError> {
    return this.#client.lost.then(
      (reason) => new GuidedDiffusionError('device-lost', `the GPU device was lost: ${reason}; start again`),
    );
  }

  /**
   * Loads a model, and the classifier that guides it, where one is given. Fails with `network`, `bad-file`, `bad-options`, `too-large`,
   * `out-of-memory` or `device-lost`; the models that are loaded stay.
   */
  async load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    check('load', options, 'load');
    const { classifier, signal, onProgress, fetch, ...rest } = options;
    if (rest.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(rest.sha256)) {
      throw new GuidedDiffusionError('bad-options', `sha256 ${JSON.stringify(rest.sha256.slice(0, 80))}: give 64 hexadecimal digits`);
    }
    const control = new AbortController();
    const transfer: Transferable[] = [];
    let told = '';
    const tell = (progress: LoadProgress) => {
      // The worker also reports that nothing has changed.
      const now = JSON.stringify(progress);
      if (now !== told) onProgress?.(progress);
      told = now;
    };
    const model = await raw(source, 'model', transfer);
    const { handle, info } = await this.#client.call(
      'load',
      {
        model,
        classifier: classifier === undefined ? null : await raw(classifier, 'classifier', transfer),
        options: {
          batch: rest.batch,
          precision: rest.precision,
          lowResolution: rest.lowResolution,
          size: rest.size,
          flags: rest.flags,
          cache: rest.cache,
          sha256: rest.sha256,
          headers: checked('headers', () => [...new Headers(rest.headers)]),
          fetched: fetch !== undefined,
        },
      },
      {
        signal,
        transfer,
        onEvent: (event, send, id) => {
          if (event.kind === 'progress') tell(event.progress);
          if (event.kind !== 'fetch' || !fetch) return;
          const { request, url } = event;
          const both = signal ? AbortSignal.any([signal, control.signal]) : control.signal;
          const init = { headers: new Headers(event.headers), signal: both };
          void fetched(() => fetch(url, init)).then(([response, bodies]) => {
            send({ id, call: 'fetched', request, response }, bodies);
          });
        },
      },
    ).finally(() => control.abort());
    const made = modelOf(this.#client, handle, info);
    if (!signal?.aborted) return made;
    // Its answer was on the way already.
    void made.dispose().catch(() => undefined);
    throw signal.reason;
  }

  /** The files that are kept in the browser, interrupted downloads included. */
  stored(): Promise<StoredModel[]> {
    return this.#client.call('stored', null);
  }

  /** Deletes one of them. Fails with `busy` while it is being loaded, here or in another tab. */
  async deleteStored(url: string): Promise<void> {
    await this.#client.call('deleteStored', { url: absolute(url, 'url').href });
  }

  /** How much room there is for stored files. */
  async storage(): Promise<StorageRoom> {
    const none: StorageEstimate = {};
    const { usage, quota } = (await navigator.storage?.estimate?.().catch(() => none)) ?? none;
    const persistent = (await navigator.storage?.persisted?.().catch(() => false)) ?? false;
    return { usage: usage ?? null, quota: quota ?? null, persistent };
  }

  /** Asks the browser, which may ask the visitor, to delete nothing by itself; resolves to whether it agreed. */
  async persist(): Promise<boolean> {
    return (await navigator.storage?.persist?.().catch(() => false)) ?? false;
  }

  /** Forgets what `Model.tune` has measured. */
  async deleteTuning(): Promise<void> {
    await this.#client.call('deleteTuning', null);
  }

  /** Ends the worker and gives everything back; what is under way rejects with an `AbortError`. */
  dispose(): void {
    this.#client.end();
  }

  /** `dispose`, for `await using`. */
  [asyncDispose](): Promise<void> {
    this.dispose();
    return Promise.resolve();
  }
}

function clientOf({ workerUrl }: Pick<EngineOptions, 'workerUrl'>): Client {
  return new Client(workerUrl ? absolute(workerUrl, 'workerUrl') : null);
}

/** Works with a worker that has no device and ends with that. */
async function briefly<T>(options: Pick<EngineOptions, 'workerUrl'>, work: (client: Client) => Promise<T>): Promise<T> {
  const client = clientOf(options);
  try {
    return await work(client);
  } finally {
    client.end();
  }
}

function whyNoWebGpu(): string {
  if (typeof Worker === 'undefined') return 'this is not a browser page; create the engine in one';
  if (!isSecureContext) return 'browsers offer WebGPU only to secure pages: serve this one by https, or from localhost';
  const names = browsers.map(({ name, version }) => `${name} ${version}`).join(', ');
  return `this browser has no WebGPU; these have it, in these versions or newer: ${names}`;
}

function absolute(url: string | URL, what: string): URL {
  return checked(what, () => new URL(url, location.href));
}

/** What a page's own `fetch` answers, as it crosses. */
async function fetched(ask: () => Promise<Response>): Promise<[RawResponse | string, Transferable[]]> {
  try {
    const response = await ask();
    const { status, statusText } = response;
    const length = lengthOf(response);
    const headers = [...response.headers].filter(([name]) => !['content-length', 'content-encoding'].includes(name));
    if (length !== null) headers.push(['content-length', String(length)]);
    const body = streamsCross() ? response.body : await response.blob();
    return [{ status, statusText, headers, body }, body instanceof ReadableStream ? [body] : []];
  } catch (error) {
    return [String(error), []];
  }
}

/** A source as it crosses to the worker. */
async function raw(source: ModelSource, role: string, transfer: Transferable[]): Promise<RawSource> {
  if (source instanceof Blob) {
    return { kind: 'blob', blob: source, name: source instanceof File ? source.name : role };
  }
  if (source instanceof Response) {
    const name = source.url ? fileName(source.url) : role;
    if (!source.ok) throw new GuidedDiffusionError('network', `${name}: the server answered ${source.status}`);
    if (!source.body || source.bodyUsed) {
      throw new GuidedDiffusionError('bad-options', `${name}: the response has no body, or it was read already`);
    }
    if (!streamsCross()) return { kind: 'blob', blob: await source.blob(), name };
    transfer.push(source.body);
    return { kind: 'stream', stream: source.body, name, length: lengthOf(source) };
  }
  if (typeof source !== 'string' && !(source instanceof URL)) {
    throw new GuidedDiffusionError('bad-options', `${role}: give a URL, a Blob or a Response`);
  }
  // It would be the page itself.
  if (String(source).trim() === '') throw new GuidedDiffusionError('bad-options', `${role}: its address is empty`);
  return { kind: 'url', url: absolute(source, role).href };
}

/** Whether a stream can be handed to a worker, which some browsers do not know. */
function streamsCross(): boolean {
  try {
    const stream = new ReadableStream();
    structuredClone(stream, { transfer: [stream] });
    return true;
  } catch {
    return false;
  }
}
