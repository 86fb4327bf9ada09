/** The page: connects the fields, the GPU and the images. One thing happens at a time, and the newest wish wins. */
import { byId, megabytes, seconds } from './dom.js';
import { Notice, type Remedy } from './errors.js';
import { SettingsForm } from './form.js';
import { Gallery, type Request, Sheet } from './gallery.js';
import { type ModelChoice, ModelPicker } from './models.js';
import { Progress } from './progress.js';
import { Runner } from './runner.js';
import { type LinkedModel, type Settings, parseLink, toLink } from './settings.js';
import { StoredDialog } from './stored.js';
import { Tuning } from './tuning.js';
import { Viewer } from './viewer.js';

/** Why a task was stopped, where the visitor wished it. */
const CANCELLED = 'cancelled';

class Page {
  private readonly generateButton = byId('generate', HTMLButtonElement);
  private readonly cancelButton = byId('cancel', HTMLButtonElement);
  private readonly progress = new Progress();
  private readonly gallery = new Gallery();
  private readonly notice = new Notice((remedy) => this.remedy(remedy));
  private readonly runner = new Runner((error) => this.onLost(error));
  private readonly picker = new ModelPicker((choice) => this.load(choice));
  private readonly form: SettingsForm;
  private readonly viewer: Viewer;
  private readonly tuning: Tuning;
  private control = new AbortController();
  private last: Promise<void> = Promise.resolve();
  private busy: 'loading' | 'running' | undefined;
  /** Generate was pressed while the model was loading. */
  private queued = false;
  /** What `retry` and `restart` load. */
  private wanted: ModelChoice | undefined;

  constructor() {
    const linked = parseLink(location.hash);
    this.form = new SettingsForm(
      linked.settings,
      () => this.onSettings(),
      () => this.generate(),
    );
    this.viewer = new Viewer({ useSeed: (seed) => this.form.useSeed(seed), link: (request) => this.copyLink(request) });
    new StoredDialog(this.runner);
    this.tuning = new Tuning({ tune: () => this.tune(), forget: () => this.forgetTuning() });
    this.cancelButton.addEventListener('click', () => this.cancel());
    addEventListener('hashchange', () => this.take(parseLink(location.hash)));
    addEventListener('online', () => this.onOnline());
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.busy === 'running' && !document.querySelector('dialog[open]')) this.cancel();
    });
    this.take({ ...linked, model: linked.model ?? { kind: 'fashion' } });
    document.body.classList.add('started');
  }

  /** Takes settings, and the model they were for: from a link, or from an earlier run. */
  private take({ settings, seeded, model }: ReturnType<typeof parseLink>): void {
    this.form.write(settings);
    this.form.roll(!seeded);
    this.onSettings();
    if (!model || same(model, this.runner.choice?.linked)) return;
    if (model.kind === 'fashion') return this.picker.chooseFashion();
    // An address that the visitor did not type is fetched only when the visitor says so.
    this.picker.write(model);
    this.progress.rest('Another model', 'Press “Load this model” if you trust where it comes from.');
  }

  /** Runs `task` after what is going on was stopped. */
  private start(task: (signal: AbortSignal) => Promise<void>): void {
    this.control.abort();
    const control = (this.control = new AbortController());
    const whole = async () => {
      if (control.signal.aborted) return;
      try {
        await task(control.signal);
      } catch (error) {
        this.stopped(error, control.signal);
      }
    };
    this.last = this.last.then(whole).finally(() => {
      if (this.control === control) this.setBusy(undefined);
    });
  }

  private load(choice: ModelChoice): void {
    if (!this.busy && alike(choice, this.runner.choice)) return;
    this.wanted = choice;
    this.notice.hide();
    this.setBusy('loading');
    this.start(async (signal) => {
      this.progress.begin('Opening the GPU');
      await this.fetchModel(choice, this.form.read(false)?.count ?? 1, signal);
      this.setBusy(undefined);
      this.progress.rest('Ready', 'Press Generate and watch the images form.');
      if (this.queued) return this.generate();
      if (!this.gallery.occupied) this.placeholder(this.form.read(false));
    });
  }

  private async fetchModel(choice: ModelChoice, count: number, signal: AbortSignal): Promise<void> {
    const model = await this.runner.load(choice, count, signal, (progress) => this.progress.load(progress));
    const { info } = model;
    this.form.offer(info);
    const what = `${info.imageSize} × ${info.imageSize} pixels, ${info.channels === 1 ? 'grey' : 'colour'}`;
    const replaced = info.warnings.length ? ` ${info.warnings.length} kernels failed their check and were replaced.` : '';
    this.picker.say(`${what}. ${megabytes(info.gpuBytes)} on ${this.runner.adapterName}.${replaced}`);
    this.tuning.say(info.tuned);
  }

  private generate(): void {
    if (this.busy === 'loading') {
      this.queued = true;
      this.setBusy('loading');
      return;
    }
    const { choice } = this.runner;
    if (!choice) {
      // A link's model waits for its own button; anything else was wanted before, and failed or was lost.
      if (!this.wanted) return byId('load', HTMLButtonElement).focus();
      this.queued = true;
      return this.load(this.wanted);
    }
    this.queued = false;
    const settings = this.form.spend();
    if (!settings) return;
    this.notice.hide();
    this.setBusy('running');
    const request = this.requestOf(settings, choice);
    history.replaceState(null, '', toLink(settings, request.model));
    this.start((signal) => this.run(request, choice, signal));
  }

  private async run(request: Request, choice: ModelChoice, signal: AbortSignal): Promise<void> {
    const { settings } = request;
    const sheet = this.sheetOf(request);
    this.gallery.stageSheet(sheet);
    reveal(byId('stage', HTMLElement));
    this.progress.begin('Starting');
    if (!this.runner.fits(settings.count)) await this.fetchModel(choice, settings.count, signal);
    const batch = this.runner.model?.info.batch ?? 1;
    this.progress.begin('Starting');
    try {
      const run = this.runner.sample(settings, signal);
      run.result.catch(() => {}); // awaited below; a loop that ends by an error must not leave it unheard
      for await (const step of run) {
        this.progress.step(step, batch);
        // The last predicted x_0 of a batch is its image: finished ones are kept, whatever becomes of the rest.
        for (const image of step.previews ?? []) sheet.put(image, step.step === step.steps);
      }
      for (const image of await run.result) sheet.put(image, true);
    } catch (error) {
      sheet.note(`Stopped: ${sheet.images.size} of ${settings.count} finished`);
      throw error;
    }
    const images = settings.count === 1 ? '1 image' : `${settings.count} images`;
    this.progress.rest(`Done in ${seconds(this.progress.elapsed)}`, `${images}. Open one to save it.`);
  }

  /** Measures the GPU with the model in use, which is then loaded again to have what was found. */
  private tune(): void {
    const { choice, model } = this.runner;
    if (!choice || !model || this.busy) return;
    this.notice.hide();
    this.setBusy('running');
    this.start(async (signal) => {
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
    if (!choice || !model || this.busy) return;
    this.setBusy('loading');
    this.start(async (signal) => {
      await this.runner.deleteTuning();
      await this.fetchModel(choice, model.info.batch, signal);
      this.setBusy(undefined);
      this.progress.rest('Ready', 'The usual kernels are used again.');
    });
  }

  private cancel(): void {
    this.queued = false;
    this.control.abort(CANCELLED);
    if (this.busy === 'loading') this.setBusy('loading');
  }

  /** After a task that did not end well: an error is explained, unless it comes of our own stopping. */
  private stopped(error: unknown, signal: AbortSignal): void {
    this.queued = false;
    if (!signal.aborted) this.fail(error);
    else if (signal.reason === CANCELLED) this.progress.rest('Cancelled', this.runner.model ? 'Ready for the next run.' : '');
  }

  private fail(error: unknown): void {
    this.notice.show(error);
    this.progress.rest(this.runner.model ? 'Ready' : 'Not ready', '');
    this.picker.say(this.runner.model ? `${this.runner.choice?.name} stays in use.` : 'No model is loaded.');
  }

  private onLost(error: unknown): void {
    this.control.abort(error);
    this.wanted = this.runner.choice ?? this.wanted;
    this.runner.close();
    this.fail(error);
  }

  private remedy(remedy: Remedy): void {
    if (remedy === 'restart') this.runner.close();
    if (remedy === 'fashion') return this.picker.chooseFashion();
    if (remedy === 'smaller') return this.picker.chooseSmall();
    const choice = this.wanted ?? this.picker.read();
    if (choice) this.load(choice);
  }

  private onOnline(): void {
    if (!this.runner.model && !this.busy && this.wanted) this.load(this.wanted);
  }

  private onSettings(): void {
    const settings = this.form.read();
    if (settings && !this.gallery.occupied && !this.busy) this.placeholder(settings);
  }

  /** Empty frames in the number that Generate will fill. */
  private placeholder(settings: Settings | null): void {
    if (!settings) return;
    const choice = this.runner.choice ?? this.picker.read(false);
    if (choice) this.gallery.stageSheet(this.sheetOf(this.requestOf(settings, choice), true));
  }

  private requestOf(settings: Settings, choice: ModelChoice): Request {
    const names = this.runner.model?.info.classNames ?? [];
    const className = (label: number | null) =>
      label === null ? 'All classes' : (names[label] ?? (this.runner.model ? `Class ${label}` : ''));
    return { settings, model: choice.linked, modelName: choice.name, className };
  }

  private sheetOf(request: Request, draft = false): Sheet {
    const classes = this.runner.model?.info.classes ?? 0;
    const { label } = request.settings;
    const labelOf = (index: number) => (classes === 0 ? null : (label ?? index % classes));
    const actions = {
      open: (sheet: Sheet, index: number) => this.viewer.open(sheet, index),
      reuse: (old: Request) => {
        this.take({ settings: old.settings, seeded: true, model: old.model });
        this.generateButton.focus();
      },
      link: (old: Request) => this.copyLink(old),
    };
    return new Sheet(request, actions, labelOf, draft);
  }

  private async copyLink(request: Request): Promise<void> {
    const link = new URL(toLink(request.settings, request.model), location.href).href;
    await navigator.clipboard.writeText(link);
  }

  private setBusy(busy: 'loading' | 'running' | undefined): void {
    this.busy = busy;
    const stoppable = busy === 'running' || this.queued;
    const hadFocus = [this.generateButton, this.cancelButton].includes(document.activeElement as HTMLButtonElement);
    this.generateButton.hidden = stoppable;
    this.cancelButton.hidden = !stoppable;
    if (hadFocus) (stoppable ? this.cancelButton : this.generateButton).focus();
    document.body.classList.toggle('working', busy !== undefined);
    this.tuning.enable(busy === undefined && this.runner.model !== undefined);
  }
}

function same(a: LinkedModel, b: LinkedModel | null | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether loading would give what is loaded. A file may have changed under its name. */
function alike(a: ModelChoice, b: ModelChoice | undefined): boolean {
  return typeof a.source === 'string' && JSON.stringify(a) === JSON.stringify(b);
}

/** Brings the images into view where a small screen shows the fields. */
function reveal(target: HTMLElement): void {
  const { top, bottom } = target.getBoundingClientRect();
  const seen = top > -120 && Math.min(bottom, top + 300) < innerHeight;
  const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (!seen) target.scrollIntoView({ block: 'start', behavior: smooth ? 'smooth' : 'auto' });
}

new Page();
// For visits without a network; without it (an old browser, private windows) the page works all the same.
addEventListener('load', () => void navigator.serviceWorker?.register('sw.js').catch(() => undefined));
