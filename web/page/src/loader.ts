/** The model that the fields are for: picked, linked to, or an earlier image's. It is loaded here, and offered where only the visitor may load it. */
import type { ModelInfo } from 'guided-diffusion';
import type { SettingsForm } from './form.js';
import type { Job } from './jobs.js';
import { atOnce } from './maker.js';
import { type ModelChoice, type ModelPicker, alike } from './models.js';
import { megabytes } from './plain.js';
import type { Progress } from './progress.js';
import type { Runner } from './runner.js';
import type { LinkedModel, parseLink } from './settings.js';
import type { Machine, Retry } from './state.js';
import type { Work } from './work.js';

interface Events {
  /** The fields were put as a link, an earlier image or the model wants them. */
  written: () => void;
  /** A model is in use. */
  loaded: (info: ModelInfo) => void;
  /** What was asked for while the model was on its way. */
  begin: (next: Job | 'generate') => void;
}

export class Loader {
  private asLinked = false;

  constructor(
    private readonly work: Work,
    private readonly runner: Runner,
    private readonly picker: ModelPicker,
    private readonly form: SettingsForm,
    private readonly progress: Progress,
    private readonly events: Events,
  ) {}

  private get machine(): Machine {
    return this.work.machine;
  }

  /** The fields are still as a link to a picture put them. */
  get shared(): boolean {
    return this.asLinked;
  }

  /** The visitor changed a setting. */
  edited(): void {
    this.asLinked = false;
  }

  /** The model in use, or the one on its way to take its place. */
  get coming(): ModelChoice | undefined {
    const { state } = this.machine;
    return state.kind === 'loading' ? state.choice : this.runner.choice;
  }

  /** The visitor picked a model. */
  pick(choice: ModelChoice): void {
    // Another model makes another picture.
    const { aim } = this.machine;
    this.asLinked &&= same(choice.linked, aim?.kind === 'model' ? aim.choice.linked : aim?.linked);
    this.load(choice);
  }

  /** Takes a link; `foreign`: it is not the page's own address, loaded anew. */
  link(linked: ReturnType<typeof parseLink>, foreign: boolean): void {
    this.asLinked = foreign && linked.named.has('seed');
    this.take(linked);
  }

  /** Takes settings, and the model they were for: from a link, or from an earlier run, whose model is known. */
  take({ settings, named, model }: ReturnType<typeof parseLink>, choice: ModelChoice | null = null): void {
    this.form.write(settings);
    this.form.roll(!named.has('seed'));
    this.events.written();
    const { coming } = this;
    const known = choice ?? (!model || same(model, coming?.linked) ? coming : null);
    if (known) this.load(known, named);
    else if (model) {
      this.picker.write(model);
      const builtIn = model.kind === 'url' ? null : this.picker.read();
      if (builtIn) this.load(builtIn, named);
      // An address that the visitor did not type is fetched only when the visitor says so.
      else this.offer(model, named);
    } else if (this.machine.aim) this.machine.aim.keep = named;
  }

  /** The fields are for a model that the visitor must load. */
  offer(linked: LinkedModel | null, keep: ReadonlySet<string>): void {
    this.machine.aim = { kind: 'offered', linked, keep };
    this.sayOffered();
  }

  private sayOffered(): void {
    const { aim } = this.machine;
    const file = aim?.kind === 'offered' && !aim.linked;
    this.progress.rest('Another model', file ? 'Choose its file, and press “Load this model”.' : 'Press “Load this model” if you trust where it comes from.');
  }

  sayReady(): void {
    if (this.machine.aim?.kind === 'offered') this.sayOffered();
    else this.progress.rest('Ready', this.shared ? 'Press Generate to make this link’s picture.' : 'Press Generate and watch the images form.');
  }

  /**
   * Makes `choice` the model that the fields are for. Where it is in use already, they are fitted to it at once, else when it is loaded.
   * `keep`: see Aim.
   */
  private aimAt(choice: ModelChoice, keep: ReadonlySet<string> | null): void {
    this.machine.aim = { kind: 'model', choice, keep };
    this.picker.show(choice);
    if (this.machine.state.kind !== 'loading' && alike(choice, this.runner.choice)) this.fit(choice);
  }

  /** A job begins, with its own model and settings. */
  adopt(choice: ModelChoice | null): void {
    const { aim } = this.machine;
    if (choice && !(aim?.kind === 'model' && alike(choice, aim.choice))) this.aimAt(choice, null);
    this.asLinked = false;
  }

  /** Fits the fields to the model in use, `choice`, as far as they are for it. */
  private fit(choice: ModelChoice): void {
    const { aim } = this.machine;
    if (aim?.kind === 'offered') return;
    const meant = aim !== null && alike(choice, aim.choice);
    this.form.offer(this.runner.facts, meant ? aim.keep : null);
    if (meant) aim.keep = null;
    this.events.written();
  }

  /** `again`: even if it is in use. `next`: what is done when it is there. */
  load(choice: ModelChoice, keep = this.machine.keepFor(choice, this.form.ownGuidance), { next = null, again = false }: { next?: 'generate' | null; again?: boolean } = {}): void {
    const wasOffered = this.machine.aim?.kind === 'offered';
    const there = !again && this.coming !== undefined && alike(choice, this.coming);
    this.aimAt(choice, keep);
    if (there) {
      if ((wasOffered || this.shared) && !this.machine.busy) this.sayReady();
      return;
    }
    this.work.start(
      { kind: 'loading', choice, next },
      async (signal) => {
        this.progress.begin('Opening the GPU');
        // It may be in use all the while that another one was on its way.
        if (!again && alike(choice, this.runner.choice)) this.fit(choice);
        else await this.fetch(choice, this.form.read(false)?.count ?? 1, signal);
      },
      (before) => {
        this.sayReady();
        const then = before.kind === 'loading' ? before.next : null;
        if (then) this.events.begin(then);
        else this.events.written();
      },
    );
  }

  /** Loads a model for so many images at once, within work that is under way. */
  async fetch(choice: ModelChoice, count: number, signal: AbortSignal): Promise<void> {
    const { info } = await this.runner.load(choice, count, signal, (progress) => this.progress.load(progress));
    this.fit(choice);
    this.events.loaded(info);
    const what = `${this.runner.imageSize} × ${this.runner.imageSize} pixels, ${info.channels === 1 ? 'grey' : 'colour'}`;
    const replaced = info.warnings.length ? ` ${info.warnings.length} kernels failed their check and were replaced.` : '';
    this.picker.say(`${what}. ${megabytes(this.runner.gpuBytes)} on ${this.runner.adapterName}, for ${atOnce(info.batch)}.${replaced}`);
  }

  /** What is under way has ended early: the model in use stays in use. One from elsewhere that did not come stays in its field, to be corrected. */
  stay(): void {
    const { aim } = this.machine;
    const { choice } = this.runner;
    // A choice that the visitor has begun in the picker stays where nothing else was loading.
    if (!choice || aim?.kind !== 'model' || alike(choice, aim.choice)) return;
    if (aim.choice.linked && aim.choice.linked.kind !== 'url') this.aimAt(choice, null);
    else this.fit(choice);
  }

  /** The model that something failed with, or else the one that the fields are for. */
  failed(retry: Retry | null): ModelChoice | undefined {
    const { aim } = this.machine;
    const own = retry?.kind === 'load' ? retry.choice : retry?.job.choice;
    return own ?? this.coming ?? (aim?.kind === 'model' ? aim.choice : undefined);
  }
}

function same(a: LinkedModel | null, b: LinkedModel | null | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
