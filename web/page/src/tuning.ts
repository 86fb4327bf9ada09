/** The control that measures this GPU: what it does, what it has found, and a way to forget that. */
import { byId } from './dom.js';

interface Actions {
  tune: () => void;
  forget: () => void;
}

export class Tuning {
  private readonly button = byId('tune', HTMLButtonElement);
  private readonly forget = byId('tune-forget', HTMLButtonElement);
  private readonly state = byId('tune-state', HTMLElement);

  constructor(actions: Actions) {
    this.button.addEventListener('click', actions.tune);
    this.forget.addEventListener('click', actions.forget);
  }

  /** How many kinds of kernel of the model in use are others than the usual ones. */
  say(tuned: number): void {
    this.forget.hidden = tuned === 0;
    this.state.textContent =
      tuned === 0
        ? 'Measures which kernels are fastest here and keeps the result: seconds on most GPUs, minutes on slow ones.'
        : `${tuned} kinds of kernel are those that were measured fastest here. Images may differ by a shade.`;
  }

  /** Some were measured, which are kept whatever becomes of the rest. */
  sayPart(): void {
    this.forget.hidden = false;
    this.state.textContent = 'What is measured is kept, and used when the model is loaded again.';
  }

  enable(possible: boolean): void {
    this.button.disabled = !possible;
    this.forget.disabled = !possible;
  }
}
