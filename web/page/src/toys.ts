/** The buttons that play with the settings: comparing, and the walk with its pause. Drawing has a board of its own. */
import { byId } from './dom.js';
import type { Job } from './jobs.js';
import type { Pause } from './morph.js';
import type { Progress } from './progress.js';
import type { State } from './state.js';

export class Toys {
  private readonly guidance = byId('compare-guidance', HTMLButtonElement);
  private readonly steps = byId('compare-steps', HTMLButtonElement);
  private readonly morph = byId('morph', HTMLButtonElement);
  private walking = false;

  constructor(
    private readonly pause: Pause,
    private readonly progress: Progress,
    onMake: (kind: Job['kind']) => void,
  ) {
    this.guidance.addEventListener('click', () => onMake('guidance'));
    this.steps.addEventListener('click', () => onMake('steps'));
    this.morph.addEventListener('click', () => (this.walking ? this.hold() : onMake('morph')));
  }

  /** Follows the page's state; `idle`: a model waits for work, which has so many stages. */
  follow(state: State, idle: boolean, guided: boolean, stages: number): void {
    this.walking = state.kind === 'running' && state.job?.kind === 'morph';
    this.guidance.disabled = !idle || !guided;
    this.steps.disabled = !idle;
    // A stack's second stage has noise of its own.
    this.morph.disabled = !this.walking && (!idle || stages > 1);
    this.morph.textContent = this.walking ? 'Pause' : 'Morph';
    hint(this.guidance, guided ? 'One seed, pushed to its class less and more.' : 'Not with this model: nothing guides it.');
    hint(this.morph, stages > 1 ? 'Not with two stages: each has noise of its own.' : 'An endless walk from seed to seed.');
  }

  /** Holds the walk up, or continues it. */
  private hold(): void {
    this.pause.toggle();
    this.morph.textContent = this.pause.on ? 'Continue' : 'Pause';
    this.progress.hold(this.pause.on);
  }
}

/** The line beneath a button. */
function hint({ nextElementSibling: line }: HTMLButtonElement, text: string): void {
  if (line) line.textContent = text;
}
