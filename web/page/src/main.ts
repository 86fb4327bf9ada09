/** The page: connects the fields, the model, and the images that are made. One thing happens at a time, and what was asked for last wins. */
import { GuidedDiffusionError } from 'guided-diffusion';
import { Address } from './address.js';
import { byId, keepFocus } from './dom.js';
import { DrawingBoard } from './draw.js';
import { Notice, type Remedy } from './errors.js';
import { SettingsForm } from './form.js';
import { Gallery, Sheet } from './gallery.js';
import { History } from './history.js';
import { HowItWorks, type OnStep, problemOf } from './how.js';
import { type Job, jobOf } from './jobs.js';
import { Loader } from './loader.js';
import { Maker } from './maker.js';
import { ModelPicker, alike, smaller } from './models.js';
import { Progress } from './progress.js';
import { exemplifies, showExamples } from './recorded.js';
import { Runner } from './runner.js';
import { type Settings, parseLink } from './settings.js';
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
  private readonly gallery = new Gallery(
    this.history,
    () => this.placeholder(this.form.read(false)),
  );
  private readonly notice = new Notice(
    (remedy) => this.remedy(remedy),
    () => [this.generateButton, this.cancelButton],
  );
  private readonly runner = new Runner((error) => this.onLost(error));
  private readonly picker = new ModelPicker(
    (choice) => this.loader.pick(choice),
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
    prepare: (...how) => this.loader.fetch(...how),
  });
  private readonly toys = new Toys(this.maker.pause, this.progress, (kind) => this.generate(kind));
  private readonly form = new SettingsForm(
    () => {
      this.loader.edited();
      this.follow(this.form.read());
    },
    () => this.onInput(),
    () => this.generate(),
  );
  private readonly loader = new Loader(this.work, this.runner, this.picker, this.form, this.progress, {
    written: () => this.follow(this.form.read(false)),
    loaded: (info) => {
      this.board.offer(info);
      this.tuning.say(info.tuned);
    },
    begin: (next) => (next === 'generate' ? this.generate() : this.run(next)),
  });
  private readonly tuning = new Tuning(this.runner, this.work, this.progress, (...how) => this.loader.fetch(...how));
  private readonly viewer = new Viewer({
    useSeed: (seed) => this.form.useSeed(seed),
    again: (job, at) => this.again(job, at),
    link: (settings, job) => this.address.copy(job, settings),
    draw: (bitmap) => this.board.put(bitmap),
    how: (follow) =>
      new HowItWorks(
        (...what) => this.explain(...what),
        ({ job }) => problemOf(this.runner, job, job.choice !== null && alike(job.choice, this.runner.choice), this.machine.busy),
        follow,
      ),
  });
  private soon = 0;

  constructor() {
    new StoredDialog(this.runner);
    this.cancelButton.addEventListener('click', () => this.work.stop());
    this.live.addEventListener('change', () => this.followLive());
    addEventListener('hashchange', () => this.onLink());
    addEventListener('online', () => this.onOnline());
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.machine.busy && !document.querySelector('dialog[open]')) this.work.stop();
    });
    this.render(this.machine.state);
    const linked = parseLink(location.hash);
    this.take({ ...linked, model: linked.model ?? { kind: 'emoji' } });
    document.querySelector('main')?.removeAttribute('inert');
    // After a reload, the last run is where it was; other tabs may have made newer ones.
    void this.gallery.recall(
      (job, id) => this.sheetOf(job, { id }),
      (job) => this.address.names(job),
    );
  }

  /** Takes a link that was pasted; other fragments, as a place on the page, change nothing. */
  private onLink(): void {
    const linked = parseLink(location.hash);
    if (linked.model || linked.named.size) this.take(linked);
  }

  /** Takes what the address names: a link, or the last run before a reload. */
  private take(linked: ReturnType<typeof parseLink>): void {
    const { own } = this.address;
    this.loader.link(linked, own === null);
    if (own?.rolling) this.form.resume();
  }

  /** What Generate makes: pictures of the drawing, where one lies on an open board. */
  private get meant(): Job['kind'] {
    return this.board.drawn ? 'draw' : 'images';
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
      return wanted ? this.loader.load(wanted, undefined, { next: 'generate' }) : undefined;
    }
    const given = (kind === 'draw' && this.board.read()) || undefined;
    if (kind === 'draw' && !given) return this.board.say('Nothing is drawn yet: draw something, or open a picture.');
    const settings = this.form.spend();
    if (settings) this.run(jobOf(kind, settings, this.runner.facts, choice, given));
  }

  private run(job: Job): void {
    this.loader.adopt(job.choice);
    this.work.start(
      { kind: 'running', job },
      (signal) => {
        this.address.show(job, this.form.rolling);
        return this.maker.make(job, signal);
      },
      // “Live” may have been switched off meanwhile.
      () => job.kind === 'live' && this.followLive(),
    );
  }

  private cancelled(): void {
    const { model } = this.runner;
    const { state } = this.machine;
    const walked = state.kind === 'running' && state.job?.kind === 'morph' && this.gallery.occupied;
    this.machine.enter(model ? { kind: 'ready' } : { kind: 'idle' });
    this.loader.stay();
    if (walked) return this.progress.rest('The walk has ended', 'Open its image to go through the walk and to save it.');
    this.progress.rest('Cancelled', model ? 'Ready for the next run.' : 'Generate loads the model again.');
  }

  private fail(error: unknown, retry: Retry | null): void {
    const failed = this.loader.failed(retry) ?? null;
    this.machine.enter({ kind: 'failed', error, retry });
    this.loader.stay();
    this.notice.show(error, failed);
    this.progress.rest(retry?.kind === 'load' ? 'Not loaded' : 'Not done');
    this.picker.say(this.runner.model ? `${this.runner.choice?.name} stays in use.` : 'No model is loaded.');
  }

  private onLost(error: unknown): void {
    const choice = this.loader.failed(null);
    this.work.stop(error);
    this.runner.close();
    this.fail(error, choice ? { kind: 'load', choice } : null);
  }

  private remedy(remedy: Remedy): void {
    const { state } = this.machine;
    const retry = state.kind === 'failed' ? state.retry : null;
    const choice = this.loader.failed(retry) ?? this.picker.read();
    if (remedy === 'emoji' || remedy === 'fashion') return this.picker.chooseBuiltIn(remedy);
    if (remedy === 'retry' && retry?.kind === 'run') return this.run(this.gallery.rest(retry.job));
    if (remedy === 'restart') this.runner.close();
    if (choice) this.loader.load(remedy === 'smaller' ? smaller(choice) : choice, undefined, { again: true });
  }

  /** What failed for want of a network is done when that is back. */
  private onOnline(): void {
    const { state } = this.machine;
    if (state.kind !== 'failed' || !state.retry) return;
    if (state.error instanceof GuidedDiffusionError && state.error.code === 'network') this.remedy('retry');
  }

  /** What is shown of the settings beside their fields. */
  private follow(settings: Settings | null): void {
    this.sayBatch();
    if (!this.gallery.occupied && !this.machine.busy && !this.live.checked) this.placeholder(settings);
  }

  /** Where “Live” is switched off, the page does not say it any longer. */
  private followLive(): void {
    if (!this.live.checked && this.machine.state.kind === 'ready') this.loader.sayReady();
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
    this.form.say(other ? 'The GPU is prepared for this number first.' : '');
  }

  /** Frames in the number that Generate will fill, empty or with examples. */
  private placeholder(settings: Settings | null): void {
    const choice = this.runner.choice ?? this.picker.read(false);
    if (!choice || !settings) return;
    const { shared } = this.loader;
    const draft = shared ? 'The link’s picture' : `To be made${choice.makes && ` (${choice.makes})`}`;
    const sheet = this.sheetOf(jobOf('images', settings, this.runner.facts, choice), { draft });
    this.gallery.stageSheet(sheet);
    const words = `Examples until ${shared ? 'the link’s is' : 'yours are'} made`;
    if (exemplifies(choice)) void showExamples(sheet, words).catch(() => undefined); // empty frames do, too
  }

  private sheetOf(job: Job, options: { draft?: string; id?: string } = {}): Sheet {
    const actions = {
      open: (sheet: Sheet, at: number) => this.viewer.open(sheet, at),
      reuse: (old: Job) => this.reuse(old, old.settings),
      link: (old: Job) => this.address.copy(old),
    };
    return new Sheet(job, actions, options);
  }

  /** Puts a job's settings, and its model, back. */
  private reuse({ model, choice }: Job, settings: Settings): void {
    const named = new Set(['label', 'first', 'seed', 'sampler', 'steps', 'enlarge', 'guidance']);
    this.loader.take({ settings, named, model }, choice);
    if (model || choice) return this.generateButton.focus({ preventScroll: true });
    // Which file it was only the visitor knows.
    this.loader.offer(null, named);
    this.picker.askForFile();
  }

  /** Makes one image of a job again. */
  private again(job: Job, at: number): void {
    const cell = job.cells[at];
    if (!cell) return;
    this.reuse(job, cell.settings);
    if (!job.model && !job.choice) return;
    const { state, aim } = this.machine;
    const choice = job.choice ?? this.loader.coming;
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

  private render(state: State): void {
    const { generate, cancel } = buttonsOf(state);
    const idle = !cancel && this.runner.model !== undefined;
    const wasGenerate = document.activeElement === this.generateButton;
    keepFocus(
      () => {
        this.generateButton.hidden = !generate;
        this.cancelButton.hidden = !cancel;
        document.body.classList.toggle('working', cancel);
        this.tuning.enable(idle);
        this.toys.follow(state, idle, this.runner.model ? this.runner.facts.guided : true, this.runner.stages);
        this.board.enable(idle);
        this.gallery.follow(state.kind === 'running');
        this.sayMeant();
        this.viewer.update();
      },
      this.cancelButton,
      this.generateButton,
    );
    if (wasGenerate && !generate) this.cancelButton.focus({ preventScroll: true });
  }
}

new Page();
// For visits without a network; without it (an old browser, private windows) the page works all the same.
addEventListener('load', () => void navigator.serviceWorker?.register('sw.js').catch(() => undefined));
