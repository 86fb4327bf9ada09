/** The package's entry: a device and a worker that works with it. */
import { Client } from './client.js';
import { GuidedDiffusionError } from './errors.js';
import { Model } from './model.js';
import { fileName } from './names.js';
import type { RawSource } from './protocol.js';
import { lengthOf } from './response.js';
import type { AdapterInfo, EngineOptions, LoadOptions, ModelSource, StoredModel } from './types.js';

export class GuidedDiffusion {
  #client: Client;

  private constructor(
    client: Client,
    /** The adapter that the browser gave. */
    readonly adapter: AdapterInfo,
  ) {
    this.#client = client;
  }

  /** Starts a worker and opens the GPU. */
  static async create(options: EngineOptions = {}): Promise<GuidedDiffusion> {
    if (!('gpu' in navigator)) {
      const why = isSecureContext
        ? 'this browser has no WebGPU; Chrome and Edge 113, Firefox 141 and Safari 26 or newer do'
        : 'browsers offer WebGPU to secure pages alone: serve this one by https, or from localhost';
      throw new GuidedDiffusionError('no-webgpu', why);
    }
    const client = new Client(options.workerUrl);
    try {
      const wasmUrl = options.wasmUrl ? new URL(options.wasmUrl, location.href).href : null;
      const adapter = await client.call('open', { lowPower: options.powerPreference === 'low-power', wasmUrl });
      return new GuidedDiffusion(client, adapter);
    } catch (error) {
      client.end();
      throw error;
    }
  }

  /** Resolves when the device is lost, to an error to show: then create a new engine. Images are kept. */
  get lost(): Promise<GuidedDiffusionError> {
    return this.#client.lost.then(
      (reason) => new GuidedDiffusionError('device-lost', `the GPU device was lost: ${reason}; start again`),
    );
  }

  /** Loads a model, and the classifier that guides it, where one is given. */
  async load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    const { classifier, signal, onProgress, ...rest } = options;
    const transfer: Transferable[] = [];
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
          flags: rest.flags,
          cache: rest.cache,
          sha256: rest.sha256,
        },
      },
      {
        signal,
        transfer,
        onEvent: (event) => {
          if (event.kind === 'progress') onProgress?.(event.progress);
        },
      },
    );
    return new Model(this.#client, handle, info);
  }

  /** Memory that the wasm core has taken; it does not give any back, so this is the most that it ever needed. */
  memory(): Promise<{ wasmBytes: number }> {
    return this.#client.call('memory', null);
  }

  /** The files that are kept in the browser, interrupted downloads included. */
  stored(): Promise<StoredModel[]> {
    return this.#client.call('stored', null);
  }

  /** Deletes one of them. */
  async deleteStored(url: string): Promise<void> {
    await this.#client.call('deleteStored', { url: new URL(url, location.href).href });
  }

  /** Forgets what `Model.tune` has measured. */
  async deleteTuning(): Promise<void> {
    await this.#client.call('deleteTuning', null);
  }

  /** Ends the worker and gives everything back; what is under way rejects with an `AbortError`. */
  dispose(): void {
    this.#client.end();
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
  return { kind: 'url', url: new URL(source, location.href).href };
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
