/** The page's work, one piece at a time: what is newer stops what is under way, waits for its end, and takes its place. */
import type { Machine, Retry, State } from './state.js';

/** Why work was stopped, where the visitor asked for that. */
export const CANCELLED = 'cancelled';

interface Ends {
  begun: () => void;
  /** It did not end well, and not by our own stopping. */
  failed: (error: unknown, retry: Retry | null) => void;
  cancelled: () => void;
}

export class Work {
  private control = new AbortController();
  private last: Promise<void> = Promise.resolve();

  constructor(
    readonly machine: Machine,
    private readonly ends: Ends,
  ) {}

  /**
   * Enters a busy state, and does its work after what is under way was stopped. Where nothing newer has taken its place by its end, the
   * page is ready, and `after` is called with the state before. Returns what stops it.
   */
  start(state: State, work: (signal: AbortSignal) => Promise<void>, after?: (before: State) => void): AbortController {
    this.control.abort();
    const control = (this.control = new AbortController());
    this.ends.begun();
    this.machine.enter(state);
    const whole = async () => {
      try {
        control.signal.throwIfAborted();
        await work(control.signal);
        if (this.control !== control || !this.machine.busy) return;
        const before = this.machine.state;
        this.machine.enter({ kind: 'ready' });
        after?.(before);
      } catch (error) {
        this.stopped(error, control.signal);
      }
    };
    this.last = this.last.then(whole);
    return control;
  }

  /** Stops what is under way. */
  stop(reason: unknown = CANCELLED): void {
    this.control.abort(reason);
  }

  private stopped(error: unknown, signal: AbortSignal): void {
    const { state } = this.machine;
    if (!signal.aborted) {
      const retry: Retry | null =
        state.kind === 'loading'
          ? { kind: 'load', choice: state.choice }
          : state.kind === 'running' && state.job
            ? { kind: 'run', job: state.job }
            : null;
      this.ends.failed(error, retry);
    } else if (signal.reason === CANCELLED && signal === this.control.signal && this.machine.busy) {
      // Otherwise something else is under way already, or an error is shown.
      this.ends.cancelled();
    }
  }
}
