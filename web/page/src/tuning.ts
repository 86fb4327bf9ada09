/** The control that measures this GPU: what it does, what it has found, and a way to forget that. */
import { byId } from './dom.js';
import type { ModelChoice } from './models.js';
import type { Progress } from './progress.js';
import type { Runner } from './runner.js';
import type { Work } from './work.js';

export class Tuning {
  private readonly button = byId('tune', HTMLButtonElement);
  private readonly forget = byId('tune-forget', HTMLButtonElement);
  private readonly state = byId('tune-state', HTMLElement);

  constructor(
    private readonly runner: Runner,
    private readonly work: Work,
    private readonly progress: Progress,
    /** Loads a model for so many images at once. */
    private readonly fetchModel: (choice: ModelChoice, count: number, signal: AbortSignal) => Promise<void>,
  ) {
    this.button.addEventListener('click', () => this.tune());
    this.forget.addEventListener('click', () => this.forgetAll());
  }

  /** Measures the GPU with the model in use, which is then loaded again to have what was found. */
  private tune(): void {
    const { choice, model } = this.runner;
    if (!choice || !model || this.work.machine.busy) return;
    this.work.start({ kind: 'running', job: null }, async (signal) => {
      this.progress.begin('Tuning');
      const tuning = this.runner.tune(signal, (progress) => {
        this.progress.tune(progress);
        if (progress.done > 0) this.sayPart();
      });
      const { measured, changed, stored } = await tuning;
      if (!stored) return this.progress.rest('Not kept', 'This browser has no room to keep what was measured.');
      await this.fetchModel(choice, model.info.batch, signal);
      const found = `${measured} kinds of kernel measured, ${changed} are faster now.`;
      this.progress.rest('Tuned', measured ? found : 'All kinds of kernel were measured before.');
    });
  }

  private forgetAll(): void {
    const { choice, model } = this.runner;
    if (!choice || !model || this.work.machine.busy) return;
    const work = async (signal: AbortSignal) => {
      await this.runner.deleteTuning();
      await this.fetchModel(choice, model.info.batch, signal);
    };
    this.work.start({ kind: 'loading', choice, next: null }, work, () => this.progress.rest('Ready', 'The usual kernels are used again.'));
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
  private sayPart(): void {
    this.forget.hidden = false;
    this.state.textContent = 'What is measured is kept, and used when the model is loaded again.';
  }

  enable(possible: boolean): void {
    this.button.disabled = !possible;
    this.forget.disabled = !possible;
  }
}
