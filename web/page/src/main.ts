/** The page: connects the fields, the GPU and the images. One thing happens at a time, and the newest wish wins. */
import { announce, byId, keepFocus, megabytes } from './dom.js';
import { DrawingBoard } from './draw.js';
import { Notice, type Remedy } from './errors.js';
import { SettingsForm } from './form.js';
import { Gallery, Sheet } from './gallery.js';
import { History } from './history.js';
import { HowItWorks, type OnStep, problemOf } from './how.js';
import { type Job, jobOf } from './jobs.js';
import { Maker, atOnce } from './maker.js';
import { type ModelChoice, ModelPicker, alike } from './models.js';
import { Progress } from './progress.js';
import { Runner } from './runner.js';
import { type LinkedModel, type Settings, parseLink, toLink } from './settings.js';
import { type Retry, type State, Machine, buttonsOf } from './state.js';
import { StoredDialog } from './stored.js';
import { Toys } from './toys.js';
import { Tuning } from './tuning.js';
import { Viewer } from './viewer.js';
import { CANCELLED, Work } from './work.js';

/** Milliseconds for which a change that goes on is waited for: a frame of the screen. */
const FRAME = 16;

class Page {
  private readonly generateButton = byId('generate', HTMLButtonElement);
  private readonly cancelButton = byId('cancel', HTMLButtonElement);
  private readonly live = byId('live-mode', HTMLInputElement);
  private readonly progress = new Progress();
  private readonly history = new History();
  private readonly gallery = new Gallery(this.history);
  private readonly notice = new Notice(
    (remedy) => this.remedy(remedy),
    () => [this.generateButton, this.cancelButton],
  );
  private readonly runner = new Runner((error) => this.onLost(error));
  private readonly picker = new ModelPicker(
    (choice) => {
      // Another model has settings of its own.
      if (!this.offered && choice.source !== this.wanted?.source) this.keep = new Set();
      this.load(choice);
    },
    (file) => void this.board.take(file),
  );
  private readonly board = new DrawingBoard(() => this.generate('draw'));
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
  private readonly toys = new Toys(this.maker.pause, (kind) => this.generate(kind));
  private readonly form: SettingsForm;
  private readonly viewer: Viewer;
  private readonly tuning: Tuning;
  private soon = 0;
  /** What Generate loads where no model is there. */
  private wanted: ModelChoice | undefined;
  /** A link's model from elsewhere, which only its own button loads. */
  private offered = false;
  /** Settings that a link or an earlier image gave, for the model that is loaded next. */
  private keep: ReadonlySet<string> = new Set();
  /** The model that the settings were last made for. */
  private suited: ModelChoice['source'] | undefined;

  constructor() {
    const linked = parseLink(location.hash);
    this.form = new SettingsForm(
      linked.settings,
      () => this.onSettings(),
      () => this.onInput(),
      () => this.generate(),
    );
    this.viewer = new Viewer({
      useSeed: (seed) => this.form.useSeed(seed),
      again: (job, at) => this.again(job, at),
      link: (job) => this.copyLink(job),
      draw: (bitmap) => this.board.put(bitmap),
      how: (follow) =>
        new HowItWorks(
          (...what) => this.explain(...what),
          ({ job }) => problemOf(this.runner, job, job.choice !== null && alike(job.choice, this.runner.choice)),
          follow,
        ),
    });
    new StoredDialog(this.runner);
    this.tuning = new Tuning({ tune: () => this.tune(), forget: () => this.forgetTuning() });
    this.cancelButton.addEventListener('click', () => this.work.stop());
    addEventListener('hashchange', () => this.onLink());
    addEventListener('online', () => this.onOnline());
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.machine.busy && !document.querySelector('dialog[open]')) this.work.stop();
    });
    this.render(this.machine.state);
    this.take({ ...linked, model: linked.model ?? { kind: 'fashion' } });
    document.querySelector('main')?.removeAttribute('inert');
    void this.recall();
  }

  /** Takes a link that was pasted; other fragments, as a place on the page, change nothing. */
  private onLink(): void {
    const linked = parseLink(location.hash);
    if (linked.model || linked.named.size) this.take(linked);
  }

  /** Takes settings, and the model they were for: from a link, or from an earlier run, whose model is known. */
  private take({ settings, named, model }: ReturnType<typeof parseLink>, choice: ModelChoice | null = null): void {
    this.form.write(settings);
    this.form.roll(!named.has('seed'));
    const stays = !choice && (!model || same(model, this.runner.choice?.linked));
    // What is left out becomes what the model in use is good with.
    if (stays && this.runner.model) this.form.offer(this.runner.facts, named);
    this.onSettings();
    if (choice) {
      this.keep = named;
      return alike(choice, this.runner.choice) ? undefined : this.load(choice);
    }
    this.offered = false;
    if (!model || stays) return;
    if (model.kind === 'url') {
      // An address that the visitor did not type is fetched only when the visitor says so.
      this.picker.write(model);
      this.offered = true;
      this.sayOffered();
    } else this.picker.chooseBuiltIn(model.kind);
    this.keep = named;
  }

  private sayOffered(): void {
    this.progress.rest('Another model', 'Press “Load this model” if you trust where it comes from.');
  }

  private load(choice: ModelChoice, next: Job | 'generate' | null = null): void {
    this.offered = false;
    if (!this.machine.busy && alike(choice, this.runner.choice) && !next) return;
    this.wanted = choice;
    this.work.start({ kind: 'loading', choice, next }, async (signal) => {
      this.progress.begin('Opening the GPU');
      await this.fetchModel(choice, this.form.read(false)?.count ?? 1, signal, choice.source === this.suited ? null : this.keep);
      const { state } = this.machine;
      this.machine.enter({ kind: 'ready' });
      if (this.offered) this.sayOffered();
      else this.progress.rest('Ready', 'Press Generate and watch the images form.');
      const then = state.kind === 'loading' ? state.next : null;
      if (then === 'generate') return this.generate();
      if (then) return this.run(then);
      if (!this.gallery.occupied) this.placeholder(this.form.read(false));
    });
  }

  private async fetchModel(choice: ModelChoice, count: number, signal: AbortSignal, keep: ReadonlySet<string> | null = null): Promise<void> {
    const model = await this.runner.load(choice, count, signal, (progress) => this.progress.load(progress));
    const { info } = model;
    this.form.offer(this.runner.facts, keep);
    this.suited = choice.source;
    this.board.offer(info);
    this.sayBatch();
    const what = `${this.runner.imageSize} × ${this.runner.imageSize} pixels, ${info.channels === 1 ? 'grey' : 'colour'}`;
    const replaced = info.warnings.length ? ` ${info.warnings.length} kernels failed their check and were replaced.` : '';
    this.picker.say(`${what}. ${megabytes(this.runner.gpuBytes)} on ${this.runner.adapterName}.${replaced}`);
    this.tuning.say(info.tuned);
  }

  private generate(kind: Job['kind'] = 'images'): void {
    const { state } = this.machine;
    if (this.offered) return byId('load', HTMLButtonElement).focus();
    if (state.kind === 'loading') return this.machine.enter({ ...state, next: 'generate' });
    const { choice } = this.runner;
    if (!choice) {
      const wanted = this.wanted ?? this.picker.read();
      return wanted ? this.load(wanted, 'generate') : undefined;
    }
    const given = (kind === 'draw' && this.board.read()) || undefined;
    if (kind === 'draw' && !given) return announce('Nothing is drawn yet');
    const settings = this.form.spend();
    if (settings) this.run(jobOf(kind, settings, this.runner.facts, choice, given));
  }

  private run(job: Job): void {
    this.work.start({ kind: 'running', job }, (signal) => {
      history.replaceState(null, '', toLink(job.settings, job.model));
      return this.maker.make(job, signal);
    });
  }

  /** Measures the GPU with the model in use, which is then loaded again to have what was found. */
  private tune(): void {
    const { choice, model } = this.runner;
    if (!choice || !model || this.machine.busy) return;
    this.work.start({ kind: 'running', job: null }, async (signal) => {
      this.progress.begin('Tuning');
      const tuning = this.runner.tune(signal, (progress) => {
        this.progress.tune(progress);
        if (progress.done > 0) this.tuning.sayPart();
      });
      const { measured, changed, stored } = await tuning;
      if (!stored) return this.progress.rest('Not kept', 'This browser has no room to keep what was measured.');
      await this.fetchModel(choice, model.info.batch, signal);
      const found = `${measured} kinds of kernel measured, ${changed} are faster now.`;
      this.progress.rest('Tuned', measured ? found : 'All kinds of kernel were measured before.');
    });
  }

  private forgetTuning(): void {
    const { choice, model } = this.runner;
    if (!choice || !model || this.machine.busy) return;
    this.work.start({ kind: 'loading', choice, next: null }, async (signal) => {
      await this.runner.deleteTuning();
      await this.fetchModel(choice, model.info.batch, signal);
      this.machine.enter({ kind: 'ready' });
      this.progress.rest('Ready', 'The usual kernels are used again.');
    });
  }

  private cancelled(): void {
    const { model } = this.runner;
    this.machine.enter(model ? { kind: 'ready' } : { kind: 'idle' });
    this.progress.rest('Cancelled', model ? 'Ready for the next run.' : 'Generate loads the model again.');
  }

  private fail(error: unknown, retry: Retry | null): void {
    this.machine.enter({ kind: 'failed', error, retry });
    this.notice.show(error);
    this.progress.rest(this.runner.model ? 'Ready' : 'Not ready', '');
    this.picker.say(this.runner.model ? `${this.runner.choice?.name} stays in use.` : 'No model is loaded.');
  }

  private onLost(error: unknown): void {
    this.work.stop(error);
    this.wanted = this.runner.choice ?? this.wanted;
    this.runner.close();
    this.fail(error, this.wanted ? { kind: 'load', choice: this.wanted } : null);
  }

  private remedy(remedy: Remedy): void {
    const { state } = this.machine;
    const retry = state.kind === 'failed' ? state.retry : null;
    if (remedy === 'restart') this.runner.close();
    if (remedy === 'fashion') return this.picker.chooseBuiltIn('fashion');
    if (remedy === 'smaller') return this.picker.chooseSmall();
    if (remedy === 'retry' && retry?.kind === 'run') return this.run(retry.job);
    const choice = retry?.kind === 'load' ? retry.choice : (this.wanted ?? this.picker.read());
    if (choice) this.load(choice);
  }

  private onOnline(): void {
    if (!this.runner.model && !this.machine.busy && this.wanted) this.load(this.wanted);
  }

  private onSettings(): void {
    const settings = this.form.read();
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
    if (choice && settings && this.machine.state.kind !== 'loading') this.run(jobOf('live', settings, this.runner.facts, choice));
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
    if (choice && settings) this.gallery.stageSheet(this.sheetOf(jobOf('images', settings, this.runner.facts, choice), { draft: true }));
  }

  private sheetOf(job: Job, options: { draft?: boolean; id?: string } = {}): Sheet {
    const actions = {
      open: (sheet: Sheet, at: number) => this.viewer.open(sheet, at),
      reuse: (old: Job) => this.reuse(old, old.settings),
      link: (old: Job) => this.copyLink(old),
    };
    return new Sheet(job, actions, options);
  }

  /** Puts a job's settings, and its model, back. */
  private reuse({ model, choice }: Job, settings: Settings): void {
    this.take({ settings, named: new Set(['seed', 'sampler', 'steps', 'guidance']), model }, choice);
    if (!model && !choice) return this.picker.askForFile();
    this.generateButton.focus();
  }

  /** Makes one image of a job again. */
  private again(job: Job, at: number): void {
    const cell = job.cells[at];
    if (!cell) return;
    this.reuse(job, cell.settings);
    if (!job.model && !job.choice) return; // which file it was only the visitor knows
    if (!job.given || this.offered) return this.generate();
    const { state } = this.machine;
    const choice = job.choice ?? (state.kind === 'loading' ? state.choice : this.runner.choice);
    if (!choice) return this.generate();
    const next = jobOf('draw', cell.settings, job.facts, choice, job.given);
    if (state.kind === 'loading') this.machine.enter({ ...state, next });
    else this.run(next);
  }

  /** Makes an image once more, for what happens within its steps; the page is busy meanwhile. */
  private explain(job: Job, settings: Settings, outer: AbortSignal, onStep: OnStep): Promise<void> {
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

  /** Shows the sheets of earlier visits. */
  private async recall(): Promise<void> {
    const earlier = await this.history.all();
    const sheets = earlier.map(({ id, job, pictures }) => {
      const sheet = this.sheetOf(job, { id });
      for (const [at, picture] of pictures) sheet.show(at, picture);
      sheet.trim();
      return sheet;
    });
    this.gallery.append(sheets);
  }

  private async copyLink(job: Job): Promise<void> {
    const link = new URL(toLink(job.settings, job.model), location.href).href;
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
        this.toys.follow(state, idle, this.runner.facts.guided, this.runner.stages);
        this.board.enable(idle && this.runner.stages === 1);
      },
      this.cancelButton,
      this.generateButton,
    );
    if (wasGenerate && !generate) this.cancelButton.focus();
  }
}

function same(a: LinkedModel, b: LinkedModel | null | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

new Page();
// For visits without a network; without it (an old browser, private windows) the page works all the same.
addEventListener('load', () => void navigator.serviceWorker?.register('sw.js').catch(() => undefined));
