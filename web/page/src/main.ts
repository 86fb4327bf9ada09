/** The page: connects the fields, the GPU and the images. One thing happens at a time, and what was asked for last wins. */
import { GuidedDiffusionError } from 'guided-diffusion';
import { Address } from './address.js';
import { byId, keepFocus, megabytes } from './dom.js';
import { DrawingBoard } from './draw.js';
import { Notice, type Remedy } from './errors.js';
import { SettingsForm } from './form.js';
import { Gallery, Sheet } from './gallery.js';
import { History } from './history.js';
import { HowItWorks, type OnStep, problemOf } from './how.js';
import { type Job, jobOf } from './jobs.js';
import { Maker, atOnce } from './maker.js';
import { type ModelChoice, ModelPicker, alike, smaller } from './models.js';
import { Progress } from './progress.js';
import { Runner } from './runner.js';
import { type LinkedModel, type Settings, parseLink, toLink } from './settings.js';
import { type Retry, type State, Machine, buttonsOf } from './state.js';
import { StoredDialog } from './stored.js';
import { Toys } from './toys.js';
import { Tuning } from './tuning.js';
import { Viewer } from './viewer.js';
import { CANCELLED, Work } from './work.js';

/** Milliseconds for which further changes are waited for: a frame of the screen. */
const FRAME = 16;

class Page {
  private readonly generateButton = byId('generate', HTMLButtonElement);
  private readonly cancelButton = byId('cancel', HTMLButtonElement);
  private readonly live = byId('live-mode', HTMLInputElement);
  private readonly progress = new Progress();
  private readonly address = new Address();
  private readonly history = new History();
  private readonly gallery = new Gallery(this.history);
  private readonly notice = new Notice(
    (remedy) => this.remedy(remedy),
    () => [this.generateButton, this.cancelButton],
  );
  private readonly runner = new Runner((error) => this.onLost(error));
  private readonly picker = new ModelPicker(
    (choice) => {
      // Another model makes another picture.
      const { aim } = this.machine;
      this.shared &&= same(choice.linked, aim?.kind === 'model' ? aim.choice.linked : aim?.linked);
      this.load(choice);
    },
    (file) => void this.board.take(file),
  );
  private readonly board = new DrawingBoard(
    () => this.generate('draw'),
    () => this.sayMeant(),
  );
  private readonly machine = new Machine((state) => this.render(state));
  private readonly work = new Work(this.machine, {
    begun: () => this.notice.hide(),
    failed: (error, retry) => this.fail(error, retry),
    cancelled: () => this.cancelled(),
  });
  private readonly maker = new Maker(this.runner, this.gallery, this.progress, {
    sheet: (job) => this.sheetOf(job),
    prepare: (choice, count, signal) => this.fetchModel(choice, count, signal),
  });
  private readonly toys = new Toys(this.maker.pause, this.progress, (kind) => this.generate(kind));
  private readonly form: SettingsForm;
  private readonly viewer: Viewer;
  private readonly tuning: Tuning;
  private soon = 0;
  /** The fields are still as a link to a picture put them. */
  private shared = false;

  constructor() {
    const linked = parseLink(location.hash);
    this.form = new SettingsForm(
      linked.settings,
      () => {
        this.shared = false;
        this.onSettings();
      },
      () => this.onInput(),
      () => this.generate(),
    );
    this.viewer = new Viewer({
      useSeed: (seed) => this.form.useSeed(seed),
      again: (job, at) => this.again(job, at),
      link: (settings, job) => this.copyLink(job, settings),
      draw: (bitmap) => this.board.put(bitmap),
      how: (follow) =>
        new HowItWorks(
          (...what) => this.explain(...what),
          ({ job }) => problemOf(this.runner, job, job.choice !== null && alike(job.choice, this.runner.choice), this.machine.busy),
          follow,
        ),
    });
    new StoredDialog(this.runner);
    this.tuning = new Tuning(this.runner, this.machine, this.work, this.progress, (...how) => this.fetchModel(...how));
    this.cancelButton.addEventListener('click', () => this.work.stop());
    addEventListener('hashchange', () => this.onLink());
    addEventListener('online', () => this.onOnline());
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.machine.busy && !document.querySelector('dialog[open]')) this.work.stop();
    });
    this.render(this.machine.state);
    this.shared = linked.named.has('seed');
    this.take({ ...linked, model: linked.model ?? { kind: 'emoji' } });
    document.querySelector('main')?.removeAttribute('inert');
    void this.gallery.recall((job, id) => this.sheetOf(job, { id }));
  }

  /** Takes a link that was pasted; other fragments, as a place on the page, change nothing. */
  private onLink(): void {
    const linked = parseLink(location.hash);
    if (!linked.model && !linked.named.size) return;
    this.shared = linked.named.has('seed');
    this.take(linked);
  }

  /** The model in use, or the one on its way to take its place. */
  private get coming(): ModelChoice | undefined {
    const { state } = this.machine;
    return state.kind === 'loading' ? state.choice : this.runner.choice;
  }

  /** Takes settings, and the model they were for: from a link, or from an earlier run, whose model is known. */
  private take({ settings, named, model }: ReturnType<typeof parseLink>, choice: ModelChoice | null = null): void {
    this.form.write(settings);
    this.form.roll(!named.has('seed'));
    this.onSettings();
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
  private offer(linked: LinkedModel | null, keep: ReadonlySet<string>): void {
    this.machine.aim = { kind: 'offered', linked, keep };
    this.sayOffered();
  }

  private sayOffered(): void {
    const { aim } = this.machine;
    const file = aim?.kind === 'offered' && !aim.linked;
    this.progress.rest('Another model', file ? 'Choose its file, and press “Load this model”.' : 'Press “Load this model” if you trust where it comes from.');
  }

  private sayReady(): void {
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

  /** Fits the fields to the model in use, `choice`, as far as they are for it. */
  private fit(choice: ModelChoice): void {
    const { aim } = this.machine;
    if (aim?.kind === 'offered') return;
    const meant = aim !== null && alike(choice, aim.choice);
    this.form.offer(this.runner.facts, meant ? aim.keep : null);
    if (meant) aim.keep = null;
    this.follow(this.form.read(false));
  }

  /** `again`: even if it is in use. `next`: what is done when it is there. */
  private load(choice: ModelChoice, keep = this.machine.keepFor(choice), { next = null, again = false }: { next?: 'generate' | null; again?: boolean } = {}): void {
    const wasOffered = this.machine.aim?.kind === 'offered';
    const there = !again && this.coming !== undefined && alike(choice, this.coming);
    this.aimAt(choice, keep);
    if (there) {
      if (wasOffered && !this.machine.busy) this.sayReady();
      return;
    }
    this.work.start(
      { kind: 'loading', choice, next },
      async (signal) => {
        this.progress.begin('Opening the GPU');
        // It may be in use all the while that another one was on its way.
        if (!again && alike(choice, this.runner.choice)) this.fit(choice);
        else await this.fetchModel(choice, this.form.read(false)?.count ?? 1, signal);
      },
      (before) => {
        this.sayReady();
        const then = before.kind === 'loading' ? before.next : null;
        if (then === 'generate') return this.generate();
        if (then) return this.run(then);
        if (!this.gallery.occupied) this.placeholder(this.form.read(false));
      },
    );
  }

  private async fetchModel(choice: ModelChoice, count: number, signal: AbortSignal): Promise<void> {
    const { info } = await this.runner.load(choice, count, signal, (progress) => this.progress.load(progress));
    this.fit(choice);
    this.board.offer(info);
    const what = `${this.runner.imageSize} × ${this.runner.imageSize} pixels, ${info.channels === 1 ? 'grey' : 'colour'}`;
    const replaced = info.warnings.length ? ` ${info.warnings.length} kernels failed their check and were replaced.` : '';
    this.picker.say(`${what}. It takes ${megabytes(this.runner.gpuBytes)} on ${this.runner.adapterName}.${replaced}`);
    this.tuning.say(info.tuned);
  }

  /** What Generate makes: pictures of the drawing, where one lies on an open board that the model can use. */
  private get meant(): Job['kind'] {
    return this.board.drawn && this.runner.stages === 1 ? 'draw' : 'images';
  }

  private sayMeant(): void {
    this.generateButton.textContent = this.meant === 'draw' ? 'Make pictures of it' : 'Generate';
  }

  private generate(kind = this.meant): void {
    const { state, aim } = this.machine;
    if (aim?.kind === 'offered') return byId('load', HTMLButtonElement).focus();
    if (state.kind === 'loading') return this.machine.enter({ ...state, next: 'generate' });
    const { choice } = this.runner;
    if (!choice) {
      const wanted = aim?.choice ?? this.picker.read();
      return wanted ? this.load(wanted, undefined, { next: 'generate' }) : undefined;
    }
    const given = (kind === 'draw' && this.board.read()) || undefined;
    if (kind === 'draw' && !given) return this.board.say('Nothing is drawn yet: draw something, or open a picture.');
    const settings = this.form.spend();
    if (settings) this.run(jobOf(kind, settings, this.runner.facts, choice, given));
  }

  private run(job: Job): void {
    const { aim } = this.machine;
    if (job.choice && !(aim?.kind === 'model' && alike(job.choice, aim.choice))) this.aimAt(job.choice, null);
    this.shared = false;
    this.work.start({ kind: 'running', job }, (signal) => {
      this.address.show(job);
      return this.maker.make(job, signal);
    });
  }

  private cancelled(): void {
    const { model } = this.runner;
    const { state } = this.machine;
    const walked = state.kind === 'running' && state.job?.kind === 'morph' && this.gallery.occupied;
    this.machine.enter(model ? { kind: 'ready' } : { kind: 'idle' });
    this.stay();
    if (walked) return this.progress.rest('The walk has ended', 'Open its image to go through the walk and to save it.');
    this.progress.rest('Cancelled', model ? 'Ready for the next run.' : 'Generate loads the model again.');
  }

  private fail(error: unknown, retry: Retry | null): void {
    this.machine.enter({ kind: 'failed', error, retry });
    this.stay();
    this.notice.show(error);
    this.progress.rest(retry?.kind === 'load' ? 'Not loaded' : 'Not done');
    this.picker.say(this.runner.model ? `${this.runner.choice?.name} stays in use.` : 'No model is loaded.');
  }

  /** The model in use stays in use. A model from elsewhere that did not come stays in its field, to be corrected. */
  private stay(): void {
    const { aim } = this.machine;
    const { choice } = this.runner;
    // A choice that the visitor has begun in the picker stays where nothing else was loading.
    if (!choice || aim?.kind !== 'model' || alike(choice, aim.choice)) return;
    if (aim.choice.linked && aim.choice.linked.kind !== 'url') this.aimAt(choice, null);
    else this.fit(choice);
  }

  private onLost(error: unknown): void {
    const choice = this.failed(null);
    this.work.stop(error);
    this.runner.close();
    this.fail(error, choice ? { kind: 'load', choice } : null);
  }

  /** The model that something failed with, or else the one that the fields are for. */
  private failed(retry: Retry | null): ModelChoice | undefined {
    const { aim } = this.machine;
    const own = retry?.kind === 'load' ? retry.choice : retry?.job.choice;
    return own ?? this.coming ?? (aim?.kind === 'model' ? aim.choice : undefined);
  }

  private remedy(remedy: Remedy): void {
    const { state } = this.machine;
    const retry = state.kind === 'failed' ? state.retry : null;
    const choice = this.failed(retry) ?? this.picker.read();
    if (remedy === 'emoji') return this.picker.chooseBuiltIn('emoji');
    if (remedy === 'retry' && retry?.kind === 'run') return this.run(this.gallery.rest(retry.job));
    if (remedy === 'restart') this.runner.close();
    if (choice) this.load(remedy === 'smaller' ? smaller(choice) : choice, undefined, { again: true });
  }

  /** What failed for want of a network is done when that is back. */
  private onOnline(): void {
    const { state } = this.machine;
    if (state.kind !== 'failed' || !state.retry) return;
    if (state.error instanceof GuidedDiffusionError && state.error.code === 'network') this.remedy('retry');
  }

  private onSettings(): void {
    this.follow(this.form.read());
  }

  /** What is shown of the settings beside their fields. */
  private follow(settings: Settings | null): void {
    this.sayBatch();
    if (settings && !this.gallery.occupied && !this.machine.busy) this.placeholder(settings);
  }

  /** While “Live” is on, each change makes the image anew. */
  private onInput(): void {
    clearTimeout(this.soon);
    if (this.live.checked) this.soon = setTimeout(() => this.makeLive(), FRAME);
  }

  private makeLive(): void {
    const { choice } = this.runner;
    const settings = this.form.read(false);
    const { state, aim } = this.machine;
    if (choice && settings && state.kind !== 'loading' && aim?.kind === 'model') this.run(jobOf('live', settings, this.runner.facts, choice));
  }

  /** Says beforehand where a number of images needs other kernels. */
  private sayBatch(): void {
    const count = this.form.read(false)?.count;
    const other = count !== undefined && this.runner.model !== undefined && !this.runner.fits(count);
    this.form.say(other ? `Compiled first for ${atOnce(this.runner.batchFor(count))}.` : '');
  }

  /** Empty frames in the number that Generate will fill. */
  private placeholder(settings: Settings | null): void {
    const choice = this.runner.choice ?? this.picker.read(false);
    if (choice && settings) this.gallery.stageSheet(this.sheetOf(jobOf('images', settings, this.runner.facts, choice), { draft: this.shared ? 'The link’s picture' : `To be made${choice.makes && ` (${choice.makes})`}` }));
  }

  private sheetOf(job: Job, options: { draft?: string; id?: string } = {}): Sheet {
    const actions = {
      open: (sheet: Sheet, at: number) => this.viewer.open(sheet, at),
      reuse: (old: Job) => this.reuse(old, old.settings),
      link: (old: Job) => this.copyLink(old),
    };
    return new Sheet(job, actions, options);
  }

  /** Puts a job's settings, and its model, back. */
  private reuse({ model, choice }: Job, settings: Settings): void {
    const named = new Set(['label', 'first', 'seed', 'sampler', 'steps', 'guidance']);
    this.take({ settings, named, model }, choice);
    if (model || choice) return this.generateButton.focus();
    // Which file it was only the visitor knows.
    this.offer(null, named);
    this.picker.askForFile();
  }

  /** Makes one image of a job again. */
  private again(job: Job, at: number): void {
    const cell = job.cells[at];
    if (!cell) return;
    this.reuse(job, cell.settings);
    if (!job.model && !job.choice) return;
    const { state, aim } = this.machine;
    const choice = job.choice ?? this.coming;
    if (!job.given || !choice || aim?.kind === 'offered') return this.generate('images');
    const next = jobOf('draw', cell.settings, job.facts, choice, job.given);
    if (state.kind === 'loading') this.machine.enter({ ...state, next });
    else this.run(next);
  }

  /** Makes an image once more, for what happens within its steps; the page is busy meanwhile. */
  private explain(job: Job, settings: Settings, outer: AbortSignal, onStep: OnStep): Promise<void> {
    if (this.machine.busy) return Promise.reject(new Error('the GPU is at work'));
    return new Promise((resolve, reject) => {
      const control = this.work.start({ kind: 'running', job: null }, async (signal) => {
        try {
          await this.maker.explain(job, settings, signal, onStep);
          resolve();
        } catch (error) {
          reject(error);
          throw error;
        }
      });
      outer.addEventListener('abort', () => control.abort(CANCELLED));
      // Its turn may come only after that.
      control.signal.addEventListener('abort', () => reject(control.signal.reason));
    });
  }

  private async copyLink(job: Job, settings = job.settings): Promise<void> {
    const link = new URL(toLink(settings, job.model), location.href).href;
    await navigator.clipboard.writeText(link);
  }

  private render(state: State): void {
    const { generate, cancel } = buttonsOf(state);
    const idle = !cancel && this.runner?.model !== undefined;
    const wasGenerate = document.activeElement === this.generateButton;
    keepFocus(
      () => {
        this.generateButton.hidden = !generate;
        this.cancelButton.hidden = !cancel;
        document.body.classList.toggle('working', cancel);
        this.tuning?.enable(idle);
        this.toys.follow(state, idle, this.runner.model ? this.runner.facts.guided : true, this.runner.stages);
        this.board.enable(idle && this.runner.stages === 1);
        this.sayMeant();
        this.viewer?.update();
      },
      this.cancelButton,
      this.generateButton,
    );
    if (wasGenerate && !generate) this.cancelButton.focus();
  }
}

function same(a: LinkedModel | null, b: LinkedModel | null | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

new Page();
// For visits without a network; without it (an old browser, private windows) the page works all the same.
addEventListener('load', () => void navigator.serviceWorker?.register('sw.js').catch(() => undefined));
