/** The worker: it has the wasm core, the device and the models, and answers the main thread's calls. */
import type { CallName, Calls, Event, Reply, Request } from '../protocol.js';
import init, { Engine } from '../wasm/guided_diffusion_web.js';
import { Failure, rawError } from './failure.js';
import { load, type Loaded } from './load.js';
import { sample } from './sample.js';
import * as storage from './storage.js';
import { Turns } from './turns.js';

interface Context {
  signal: AbortSignal;
  emit: (event: Event, transfer?: Transferable[]) => void;
}

type Handlers = {
  [Name in CallName]: (take: Calls[Name]['take'], context: Context) => Promise<Calls[Name]['answer']>;
};

const scope = self as DedicatedWorkerGlobalScope;
const turns = new Turns();
const running = new Map<number, AbortController>();
const models = new Map<number, Loaded>();
/** What stops the runs of a model that is being disposed of. */
const disposal = new Map<number, AbortController>();
let engine: Engine | null = null;
let memory: WebAssembly.Memory | null = null;
let nextHandle = 1;

const handlers: Handlers = {
  async open({ lowPower, wasmUrl }) {
    const powerPreference = lowPower ? 'low-power' : 'high-performance';
    const adapter = await navigator.gpu.requestAdapter({ powerPreference });
    if (!adapter) throw new Failure('no-adapter', 'this browser has WebGPU, but offers no GPU here');
    ({ memory } = await init({ module_or_path: wasmUrl ?? new URL('../wasm/guided_diffusion_web_bg.wasm', import.meta.url) }));
    engine = await Engine.open(lowPower);
    void engine.lost().then((reason) => reply({ lost: String(reason) }));
    const { description, vendor, architecture } = adapter.info;
    const name = description || `${vendor} ${architecture}`.trim();
    const info = JSON.parse(engine.adapter()) as Calls['open']['answer'];
    return name ? { ...info, name } : info;
  },

  load(take, { signal, emit }) {
    return turns.take(signal, async () => {
      if (!engine) throw new Failure('bad-options', 'no device is open');
      const loaded = await load(engine, take, (progress) => emit({ kind: 'progress', progress }), signal);
      const handle = nextHandle++;
      models.set(handle, loaded);
      disposal.set(handle, new AbortController());
      return { handle, info: loaded.info };
    });
  },

  sample({ handle, options, input }, { signal, emit }) {
    const disposed = disposal.get(handle)?.signal;
    const either = disposed ? AbortSignal.any([signal, disposed]) : signal;
    return turns.take(either, async () => {
      const loaded = models.get(handle);
      if (!loaded) throw new Failure('bad-options', 'the model was disposed of; load it again');
      await sample(loaded, options, input, emit, either);
      return null;
    });
  },

  disposeModel({ handle }, { signal }) {
    disposal.get(handle)?.abort();
    disposal.delete(handle);
    return turns.take(signal, async () => {
      const loaded = models.get(handle);
      models.delete(handle);
      loaded?.model.destroy();
      loaded?.model.free();
      return null;
    });
  },

  memory: () => Promise.resolve({ wasmBytes: memory?.buffer.byteLength ?? 0 }),

  stored: () => storage.list(),

  async deleteStored({ url }) {
    await storage.forget(url);
    return null;
  },
};

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.call === 'cancel') running.get(data.id)?.abort();
  else void answer(data);
};

async function answer(request: Exclude<Request, { call: 'cancel' }>): Promise<void> {
  const { id, call, take } = request;
  const controller = new AbortController();
  running.set(id, controller);
  const context: Context = {
    signal: controller.signal,
    emit: (event, transfer = []) => reply({ id, event }, transfer),
  };
  // The types of one call's argument and handler belong together, which TypeScript cannot follow.
  const handler = handlers[call] as (take: unknown, context: Context) => Promise<Calls[CallName]['answer']>;
  try {
    reply({ id, answer: await handler(take, context) });
  } catch (error) {
    reply({ id, error: rawError(error, controller.signal) });
  } finally {
    running.delete(id);
  }
}

function reply(message: Reply, transfer: Transferable[] = []): void {
  scope.postMessage(message, transfer);
}
