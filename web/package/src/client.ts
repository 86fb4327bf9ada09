/** The main thread's end of the worker: calls are promises, events go to whoever made the call. */
import { aborted, GuidedDiffusionError } from './errors.js';
import type { CallName, Calls, Event, RawError, Reply, Request } from './protocol.js';
import type { EngineOptions } from './types.js';

interface Pending {
  resolve: (answer: never) => void;
  reject: (error: unknown) => void;
  onEvent?: (event: Event) => void;
}

interface CallOptions {
  signal?: AbortSignal;
  onEvent?: (event: Event) => void;
  transfer?: Transferable[];
}

export class Client {
  /** Resolves to the reason when the device is lost. */
  readonly lost: Promise<string>;
  #lose!: (reason: string) => void;
  #worker: Worker;
  #pending = new Map<number, Pending>();
  #next = 1;
  #ended: GuidedDiffusionError | null = null;

  constructor(workerUrl: EngineOptions['workerUrl']) {
    this.lost = new Promise((resolve) => (this.#lose = resolve));
    // Bundlers look for exactly this form.
    this.#worker = workerUrl
      ? new Worker(workerUrl, { type: 'module' })
      : new Worker(new URL('./worker/worker.js', import.meta.url), { type: 'module' });
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    this.#worker.onmessageerror = () => this.#fail(new GuidedDiffusionError('internal', 'a message could not be read'));
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const what = event.message ? `the worker failed: ${event.message}` : 'the worker could not be started';
      this.#fail(new GuidedDiffusionError('internal', `${what}; create a new engine`));
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
      this.#pending.set(id, { resolve, reject, onEvent });
      this.#send({ id, call, take } as Request, transfer);
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
    if ('lost' in reply) {
      this.#lose(reply.lost);
      return;
    }
    const pending = this.#pending.get(reply.id);
    if ('event' in reply) {
      pending?.onEvent?.(reply.event);
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

function errorOf({ name, code, message }: RawError): Error {
  return name === 'AbortError' ? aborted() : new GuidedDiffusionError(code, message);
}
