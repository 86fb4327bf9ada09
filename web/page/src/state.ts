/**
 * What the page is doing, as one value: every button, title and remedy follows from it. A step that the table below does not
 * have is a mistake of ours.
 */
import type { Job } from './jobs.js';
import type { ModelChoice } from './models.js';
import type { LinkedModel } from './settings.js';

/** The model that the fields are for. `keep`: settings that a link or an earlier image gave and that stay when it is loaded. */
export type Aim =
  /** In use, on its way, or what Generate loads where no model is there. `keep` is null once the fields suit it. */
  | { kind: 'model'; choice: ModelChoice; keep: ReadonlySet<string> | null }
  /** A link's model from elsewhere, which only its own button loads; null for a file that only the visitor can choose. */
  | { kind: 'offered'; linked: LinkedModel | null; keep: ReadonlySet<string> };

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
  /** null until the page has read its address. */
  aim: Aim | null = null;

  constructor(private readonly onEnter: (state: State) => void) {}

  enter(state: State): void {
    if (!STEPS[this.state.kind].includes(state.kind)) throw new Error(`no step leads from ${this.state.kind} to ${state.kind}`);
    this.state = state;
    this.onEnter(state);
  }

  get busy(): boolean {
    return this.state.kind === 'loading' || this.state.kind === 'running';
  }

  /**
   * What stays of the settings where `choice` is loaded: all (null) where it is another form of the model that they suit.
   * `ownGuidance`: the visitor chose a scale.
   */
  keepFor({ source, options, linked }: Pick<ModelChoice, 'source' | 'options' | 'linked'>, ownGuidance: boolean): ReadonlySet<string> | null {
    const { aim } = this;
    const meant = aim?.kind === 'model' ? aim.choice.source === source : aim !== null && JSON.stringify(aim.linked) === JSON.stringify(linked);
    // Another model has settings of its own.
    if (!aim || !meant) return new Set();
    // A classifier has a usual scale of its own.
    const other = aim.kind === 'model' && aim.keep === null && aim.choice.options.classifier !== options.classifier;
    return other ? new Set(['label', 'first', 'sampler', 'steps', 'enlarge', ...(ownGuidance ? ['guidance'] : [])]) : aim.keep;
  }
}

/** Which of the two buttons are shown. */
export function buttonsOf(state: State): { generate: boolean; cancel: boolean } {
  const busy = state.kind === 'loading' || state.kind === 'running';
  return { generate: !busy || (state.kind === 'loading' && state.next === null), cancel: busy };
}
