/** The main thread's end of the worker: calls are promises, events go to the caller. */
import { aborted, checked, GuidedDiffusionError } from './errors.js';
import type { CallName, Calls, Event, RawError, Reply, Request } from './protocol.js';

interface Pending {
  resolve: (answer: never) => void;
  reject: (error: unknown) => void;
  onEvent?: OnEvent;
}

/** `send` answers the worker while the call is under way. */
type OnEvent = (event: Event, send: (request: Request, transfer?: Transferable[]) => void, id: number) => void;

interface CallOptions {
  signal?: AbortSignal;
  onEvent?: OnEvent;
  transfer?: Transferable[];
}

export class Client {
  /** Resolves to the reason when the device is lost. */
  readonly lost: Promise<string>;
  #lose!: (reason: string) => void;
  #worker: Worker;
  #pending = new Map<number, Pending>();
  #next = 1;
  #answered = false;
  #ended: GuidedDiffusionError | null = null;

  constructor(workerUrl: URL | null) {
    this.lost = new Promise((resolve) => (this.#lose = resolve));
    this.#worker = checked('the worker', () => startWorker(workerUrl));
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    this.#worker.onmessageerror = () => this.#fail(new GuidedDiffusionError('internal', 'a message could not be read'));
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const cause: unknown = event.error;
      if (event.message || this.#answered) {
        this.#fail(new GuidedDiffusionError('internal', `the worker failed: ${event.message}; create a new engine`, { cause }));
      } else {
        const advice = 'check the network, where it was copied (workerUrl), and worker-src and script-src of a Content-Security-Policy';
        this.#fail(new GuidedDiffusionError('network', `the worker’s script cannot be loaded: ${advice}`, { cause }));
      }
    };
  }

  call<Name extends CallName>(
    call: Name,
    take: Calls[Name]['take'],
    { signal, onEvent, transfer = [] }: CallOptions = {},
  ): Promise<Calls[Name]['answer']> {
    if (this.#ended) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    const cancel = () => this.#send({ id, call: 'cancel' });
    const promise = new Promise<Calls[Name]['answer']>((resolve, reject) => {
      // What cannot cross throws: then nothing is pending.
      checked(`options of ${call}`, () => this.#send({ id, call, take } as Request, transfer));
      this.#pending.set(id, { resolve, reject, onEvent });
    });
    signal?.addEventListener('abort', cancel);
    return promise
      .catch((error: unknown) => {
        throw signal?.aborted && isAbort(error) ? signal.reason : error;
      })
      .finally(() => signal?.removeEventListener('abort', cancel));
  }

  /** Ends the worker, and with it all that it holds. */
  end(): void {
    this.#fail(new GuidedDiffusionError('bad-options', 'the engine was disposed of; create a new one'), aborted());
  }

  #send(request: Request, transfer: Transferable[] = []): void {
    if (!this.#ended) this.#worker.postMessage(request, transfer);
  }

  #receive(reply: Reply): void {
    this.#answered = true;
    if ('lost' in reply) {
      this.#lose(reply.lost);
      return;
    }
    const pending = this.#pending.get(reply.id);
    if ('event' in reply) {
      pending?.onEvent?.(reply.event, (request, transfer) => this.#send(request, transfer), reply.id);
      return;
    }
    this.#pending.delete(reply.id);
    if ('error' in reply) pending?.reject(errorOf(reply.error));
    else pending?.resolve(reply.answer as never);
  }

  #fail(error: GuidedDiffusionError, now: Error = error): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(now);
    this.#pending.clear();
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

function errorOf({ name, code, message, cause }: RawError): Error {
  return name === 'AbortError' ? aborted() : new GuidedDiffusionError(code, message, cause === undefined ? {} : { cause });
}

function startWorker(url: URL | null): Worker {
  const here = import.meta.url;
  const elsewhere = (one: string | URL) => /^https?:/.test(String(one)) && new URL(one).origin !== location.origin;
  // A bundler may have put this file elsewhere, but then the worker beside it, which only its form below finds.
  if (!url && !elsewhere(here)) return new Worker(new URL('./worker/worker.js', import.meta.url), { type: 'module' });
  const script = './worker/worker.js';
  const found = url ?? new URL(script, here);
  if (!elsewhere(found)) return new Worker(found, { type: 'module' });
  // Browsers start no worker from another origin, but one of this origin may import it.
  const blob = URL.createObjectURL(new Blob([`import ${JSON.stringify(found.href)};`], { type: 'text/javascript' }));
  try {
    return new Worker(blob, { type: 'module' });
  } finally {
    // The browser has its script once this task is over.
    setTimeout(() => URL.revokeObjectURL(blob), 0);
  }
}
