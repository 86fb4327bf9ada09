/** The worker: it has the wasm core, the device and the models, and answers the main thread's calls. */
import type { CallName, Calls, Event, Reply, Request } from '../protocol.js';
import type { TuneProgress } from '../types.js';
import init, { Engine } from '../wasm/guided_diffusion_web.js';
import { Failure, rawError } from './failure.js';
import { load, type Loaded } from './load.js';
import { bits, sample } from './sample.js';
import { PageFetch } from './request.js';
import * as storage from './storage.js';
import { requestSubgroups } from './subgroups.js';
import { deleteTuning, readTuning } from './tuningCache.js';
import { tune } from './tune.js';
import { Turns } from './turns.js';

interface Context {
  /** Aborted by the call's `cancel`. */
  controller: AbortController;
  signal: AbortSignal;
  emit: (event: Event, transfer?: Transferable[]) => void;
  /** Makes requests by the page's own function. */
  page: PageFetch;
}

type Handlers = {
  [Name in CallName]: (take: Calls[Name]['take'], context: Context) => Promise<Calls[Name]['answer']>;
};

const scope = self as DedicatedWorkerGlobalScope;
const turns = new Turns();
const running = new Map<number, Context>();
const models = new Map<number, Loaded>();
/** The runs of each model, which end with it. */
const runs = new Map<number, Set<AbortController>>();
let engine: Engine | null = null;
/** Identifies its adapter. */
let adapterName = '';
let nextHandle = 1;

const handlers: Handlers = {
  async open({ lowPower, wasmUrl }) {
    if (!navigator.gpu) throw new Failure('no-webgpu', 'this browser has no WebGPU in workers; a newer one is needed');
    const powerPreference = lowPower ? 'low-power' : 'high-performance';
    const adapter = await navigator.gpu.requestAdapter({ powerPreference });
    if (!adapter) throw new Failure('no-adapter', 'this browser has WebGPU, but offers no GPU here');
    // Bundlers look for exactly this form.
    await start(wasmUrl ?? new URL('../wasm/guided_diffusion_web_bg.wasm', import.meta.url).href);
    // Removes what an earlier worker left; where storage cannot be read, nothing will be stored either.
    await storage.sweep().catch(() => undefined);
    const { description, vendor, architecture, device } = adapter.info;
    adapterName = [vendor, architecture, device, description].join(' ');
    // A browser's version stands for its compiler's, and is all that it reports about its drivers.
    engine = await Engine.open(lowPower, requestSubgroups(adapter), `${adapterName}; ${navigator.userAgent}`);
    void engine.lost().then((reason) => reply({ lost: String(reason) }));
    const name = description || `${vendor} ${architecture}`.trim();
    const info = JSON.parse(engine.adapter()) as Calls['open']['answer'];
    return name ? { ...info, name } : info;
  },

  async load(take, { signal, emit, page }) {
    if (!engine) throw new Failure('bad-options', 'no device is open');
    const { headers, fetched } = take.options;
    const asker = { headers, fetch: fetched ? page.fetch : fetch.bind(self) };
    const place = { engine, turns, tuning: await readTuning(adapterName), asker };
    const loaded = await load(place, take, (progress) => emit({ kind: 'progress', progress }), signal);
    const handle = nextHandle++;
    models.set(handle, loaded);
    runs.set(handle, new Set());
    return { handle, info: loaded.info };
  },

  async sample({ handle, options, input }, context) {
    await run(handle, context, (loaded) => sample(loaded, options, input, context.emit, context.signal));
    return null;
  },

  bits: (take, context) => run(take.handle, context, ({ model }) => bits(model, take, context.emit, context.signal)),

  tune({ handle, budgetMs }, context) {
    const { emit, signal } = context;
    const report = (progress: TuneProgress) => emit({ kind: 'tuning', progress });
    return run(handle, context, ({ model }) => tune(model, adapterName, budgetMs, report, signal));
  },

  disposeModel({ handle }, { signal }) {
    for (const run of runs.get(handle) ?? []) run.abort();
    runs.delete(handle);
    return turns.take(signal, async () => {
      const loaded = models.get(handle);
      models.delete(handle);
      loaded?.model.destroy();
      loaded?.model.free();
      return null;
    });
  },

  stored: () => storage.list(),

  async deleteStored({ url }) {
    await storage.forget(url);
    return null;
  },

  // In its turn: a measurement under way ends by keeping what it found.
  deleteTuning: (_, { signal }) =>
    turns.take(signal, async () => {
      await deleteTuning();
      return null;
    }),
};

/** Works with a model when its turn comes; disposing of the model ends it. */
async function run<Answer>(
  handle: number,
  { controller, signal }: Context,
  work: (loaded: Loaded) => Promise<Answer>,
): Promise<Answer> {
  const own = runs.get(handle)?.add(controller);
  try {
    return await turns.take(signal, () => work(loadedOf(handle)));
  } finally {
    own?.delete(controller);
  }
}

/** Starts the core. */
async function start(url: string): Promise<void> {
  const where = `the package’s wasm file, ${url},`;
  const advice = 'check where it was copied (wasmUrl)';
  const response = await fetch(url).catch((cause: unknown) => {
    throw new Failure('network', `${where} cannot be downloaded (${cause})`, { cause });
  });
  if (!response.ok) throw new Failure('network', `${where} was answered by ${response.status}: ${advice}`);
  try {
    await init({ module_or_path: response });
  } catch (cause) {
    if (!(cause instanceof WebAssembly.CompileError)) throw cause;
    const policy = "a Content-Security-Policy must name 'wasm-unsafe-eval' in script-src";
    throw new Failure('network', `${where} cannot be compiled (${cause.message}): ${advice}; ${policy}`, { cause });
  }
}

function loadedOf(handle: number): Loaded {
  const loaded = models.get(handle);
  if (!loaded) throw new Failure('bad-options', 'the model was disposed of; load it again');
  return loaded;
}

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.call === 'cancel') running.get(data.id)?.controller.abort();
  else if (data.call === 'fetched') running.get(data.id)?.page.answer(data.request, data.response);
  else void answer(data);
};

async function answer(request: Extract<Request, { call: CallName }>): Promise<void> {
  const { id, call, take } = request;
  const controller = new AbortController();
  const emit: Context['emit'] = (event, transfer = []) => reply({ id, event }, transfer);
  const context: Context = { controller, signal: controller.signal, emit, page: new PageFetch(emit) };
  running.set(id, context);
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
