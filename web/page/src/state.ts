/**
 * What the page is doing, as one value: every button, title and remedy follows from it. A step that the table below does not
 * have is a mistake of ours.
 */
import type { Job } from './jobs.js';
import type { ModelChoice } from './models.js';

/** What “Try again” does: loads the model, or makes the images that were not made. */
export type Retry = { kind: 'load'; choice: ModelChoice } | { kind: 'run'; job: Job };

export type State =
  /** No model is loaded, and none is on its way. */
  | { kind: 'idle' }
  /** `next`: what was asked for meanwhile, and begins when it is there. */
  | { kind: 'loading'; choice: ModelChoice; next: Job | 'generate' | null }
  | { kind: 'ready' }
  /** Images are made, or (without a job) the GPU is measured. */
  | { kind: 'running'; job: Job | null }
  /** An error is shown. A model may be in use all the same. */
  | { kind: 'failed'; error: unknown; retry: Retry | null };

export type Kind = State['kind'];

/** Where each state may lead. Any work may take the place of any other, which is then stopped. */
const STEPS: Record<Kind, readonly Kind[]> = {
  idle: ['loading', 'failed'],
  loading: ['loading', 'running', 'ready', 'idle', 'failed'],
  ready: ['loading', 'running', 'failed', 'idle'],
  running: ['loading', 'running', 'ready', 'idle', 'failed'],
  failed: ['loading', 'running', 'ready', 'idle', 'failed'],
};

export class Machine {
  state: State = { kind: 'idle' };

  constructor(private readonly onEnter: (state: State) => void) {}

  enter(state: State): void {
    if (!STEPS[this.state.kind].includes(state.kind)) throw new Error(`no step leads from ${this.state.kind} to ${state.kind}`);
    this.state = state;
    this.onEnter(state);
  }

  get busy(): boolean {
    return this.state.kind === 'loading' || this.state.kind === 'running';
  }
}

/** Which of the two buttons are shown. */
export function buttonsOf(state: State): { generate: boolean; cancel: boolean } {
  const busy = state.kind === 'loading' || state.kind === 'running';
  return { generate: !busy || (state.kind === 'loading' && state.next === null), cancel: busy };
}
