/**
 * A job's images as a sheet of frames: empty frames that hold the space, then previews, then finished images. The sheet of the
 * present job lies on the stage; earlier ones lie below it, the newest first, also those of earlier visits.
 */
import { type GeneratedImage, randomSeed } from 'guided-diffusion';
import { announce, button, byId, element, keepFocus, paint, save } from './dom.js';
import type { History } from './history.js';
import { type Job, caption, restOf } from './jobs.js';
import { type Forming, type Picture, bytesOf, pictureOf } from './picture.js';
import { slug } from './plain.js';
import { zip } from './zip.js';

const COPY = 'Copy link';
/** Milliseconds for which “Clear” waits for its second press. */
const SURE = 5000;

/** Images kept, and their bytes; the oldest sheets go first. */
const KEPT = 500;
const KEPT_BYTES = 256e6;

interface SheetActions {
  /** Opens a finished image. */
  open: (sheet: Sheet, at: number) => void;
  reuse: (job: Job) => void;
  link: (job: Job) => Promise<void>;
}

interface Frame {
  item: HTMLLIElement;
  open: HTMLButtonElement;
  canvas: HTMLCanvasElement;
  trail: Forming;
}

export class Sheet {
  readonly root = element('article', { className: 'sheet' });
  /** Finished images by their place. */
  readonly pictures = new Map<number, Picture>();
  private readonly frames: Frame[];
  private readonly edge = element('p', { className: 'edge' });

  constructor(
    readonly job: Job,
    actions: SheetActions,
    /** `draft`: no run yet, but frames that show what Generate will fill, and words that say so. */
    { draft = '', id = `${Date.now()}-${randomSeed()}` } = {},
  ) {
    this.id = id;
    const count = job.cells.length;
    this.frames = job.cells.map((_, at) => this.frame(at, () => actions.open(this, at)));
    const list = element('ol', { className: 'frames' }, ...this.frames.map(({ item }) => item));
    list.style.setProperty('--wide', String(columns(count)));
    list.style.setProperty('--narrow', String(Math.min(count, count <= 4 ? 2 : count <= 9 ? 3 : 4)));
    const again = button('Use these settings', () => actions.reuse(job), 'quiet');
    const link = button(COPY, () => void this.copyLink(link, actions.link(job)), 'quiet');
    // A link names one run's settings, and holds no drawing.
    link.hidden = job.kind !== 'images' && job.kind !== 'live';
    const head = element('div', { className: 'sheet-head' }, this.edge, element('div', { className: 'buttons' }, again, link));
    this.root.append(head, list);
    this.root.classList.toggle('draft', draft !== '');
    this.edge.textContent = draft ? `${draft}: ${caption(job)}` : caption(job);
  }

  /** Names it in the history. */
  readonly id: string;

  /** Where a walk has come to. */
  last: GeneratedImage | null = null;

  /** Shows images that were made before, in frames without a run; `words` say that. */
  showExamples(images: (ImageData | undefined)[], words: string): void {
    this.root.classList.add('examples');
    this.edge.textContent = words;
    images.forEach((pixels, at) => {
      const frame = this.frames[at];
      if (!frame || !pixels) return;
      paint(frame.canvas, pixels);
      frame.open.classList.add('example');
    });
  }

  /** A preview after `step` steps; of more than `most`, the oldest goes. */
  preview(at: number, image: GeneratedImage, step: number, most = Infinity): void {
    const frame = this.frames[at];
    if (!frame || this.pictures.has(at)) return;
    const pixels = image.toImageData();
    // A stack's second stage makes larger ones: its trail is the image's.
    const { trail } = frame;
    if (trail.frames[0] && trail.frames[0].width !== pixels.width) forget(trail);
    trail.at.push(step);
    trail.noise.push(noiseOf(image));
    trail.frames.push(pixels);
    if (trail.frames.length > most) for (const part of [trail.at, trail.noise, trail.frames]) part.shift();
    paint(frame.canvas, pixels);
    frame.open.classList.remove('empty');
    frame.item.classList.add('forming');
  }

  /** The image itself; `small`: it was to be enlarged yet. */
  async finish(at: number, image: GeneratedImage, small = false): Promise<void> {
    const frame = this.frames[at];
    if (!frame || this.pictures.has(at)) return;
    // What is there of the second stage is not how a small image came about.
    if (small && frame.trail.frames[0]?.width !== image.width) forget(frame.trail);
    this.show(at, { ...(await pictureOf(image, frame.trail, this.job.kind === 'live')), small });
    forget(frame.trail);
  }

  show(at: number, picture: Picture): void {
    const frame = this.frames[at];
    if (!frame) return;
    this.pictures.set(at, picture);
    paint(frame.canvas, picture.pixels);
    frame.open.classList.remove('empty');
    frame.item.classList.remove('forming');
    frame.open.disabled = false;
    frame.open.ariaLabel = `${this.nameOf(at)}, image ${at + 1} of ${this.frames.length}, open`;
  }

  /** Takes away the frames of images that were never finished, when the sheet leaves the stage or comes from an earlier visit. */
  trim(): void {
    if (this.finished.size < this.frames.length) this.sayStopped();
    this.frames.forEach(({ item, trail }, at) => {
      item.hidden = !this.pictures.has(at);
      if (item.hidden) forget(trail);
    });
  }

  /** The run ended before its end: previews stay as far as they came, and frames that had none are not shown. */
  stop(): void {
    if (this.finished.size === this.frames.length) return;
    this.sayStopped();
    const begun = this.frames.filter(({ trail }) => trail.frames.length > 0);
    const some = begun.length + this.pictures.size > 0;
    this.frames.forEach(({ item, open, trail }, at) => {
      item.classList.remove('forming');
      if (this.pictures.has(at)) return;
      const unfinished = trail.frames.length > 0;
      item.classList.toggle('unfinished', unfinished);
      if (unfinished) open.ariaLabel = `${this.nameOf(at)}, unfinished`;
      item.hidden = some && !unfinished;
      forget(trail);
    });
    // Empty frames keep their place, so that nothing moves; the next run takes it.
    if (!some) this.root.classList.add('stopped');
  }

  /** The places of images that are all that they were to become: of a stack, those that were enlarged. */
  get finished(): ReadonlySet<number> {
    return new Set(this.places.filter((at) => !this.pictures.get(at)?.small));
  }

  private sayStopped(): void {
    const finished = this.finished.size;
    this.edge.textContent = `${caption(this.job)}. Stopped: ${finished} of ${this.frames.length} ${finished < this.pictures.size ? 'enlarged' : 'finished'}`;
  }

  nameOf(at: number): string {
    return this.job.cells[at]?.name || `Image ${at + 1}`;
  }

  /** The places of finished images, in order. */
  get places(): number[] {
    return [...this.pictures.keys()].sort((a, b) => a - b);
  }

  /** What an image is called as a file; a class's name may hold anything. */
  fileName(at: number): string {
    const cell = this.job.cells[at];
    return slug(`${this.nameOf(at)} seed ${cell?.settings.seed ?? ''} ${(cell?.index ?? at) + 1}`);
  }

  private async copyLink(link: HTMLButtonElement, copied: Promise<void>): Promise<void> {
    link.textContent = await copied.then(
      () => 'Link copied',
      () => 'Not allowed',
    );
    announce(link.textContent);
    setTimeout(() => (link.textContent = COPY), 2000);
  }

  private frame(at: number, onOpen: () => void): Frame {
    const canvas = element('canvas');
    paint(canvas, noise());
    const open = element('button', { type: 'button', className: 'frame empty', disabled: true }, canvas);
    open.ariaLabel = `${this.nameOf(at)}, not made yet`;
    open.addEventListener('click', onOpen);
    const number = element('span', { className: 'frame-number', textContent: String(at + 1) });
    const below = element('span', { className: 'frame-edge', ariaHidden: 'true' }, number);
    const { name } = this.job.cells[at] ?? {};
    if (name) below.append(element('span', { className: 'frame-name', textContent: name }));
    return { item: element('li', {}, open, below), open, canvas, trail: { at: [], noise: [], frames: [] } };
  }
}

const forget = (trail: Forming) => (trail.at.length = trail.noise.length = trail.frames.length = 0);

/** How much of a preview's image was noise before its step, in percent of its standard deviation. */
function noiseOf({ noiseLevel }: GeneratedImage): number | null {
  return noiseLevel === null ? null : 100 * (noiseLevel / Math.hypot(1, noiseLevel));
}

/** What an image forms from; it fills frames until there is more to see. */
function noise(): ImageData {
  const pixels = new ImageData(32, 32);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.fill(Math.random() * 256, at, at + 3);
  for (let at = 3; at < pixels.data.length; at += 4) pixels.data[at] = 255;
  return pixels;
}

/** Frames in a row of a wide stage: rows of like length, and a single image is shown large. */
function columns(count: number): number {
  if (count <= 5) return count;
  if (count <= 12) return Math.ceil(count / 2);
  return 8;
}

export class Gallery {
  private readonly stage = byId('current', HTMLElement);
  private readonly place = byId('sheets', HTMLElement);
  private readonly clearButton = byId('clear', HTMLButtonElement);
  private readonly saveButton = byId('save-all', HTMLButtonElement);
  private readonly title = byId('gallery-title', HTMLElement);
  private readonly empty = byId('gallery-empty', HTMLElement);
  private readonly kept = byId('gallery-kept', HTMLElement);
  private earlier: Sheet[] = [];
  /** The next press of “Clear” deletes. */
  private sure = false;
  private present: Sheet | undefined;
  /** A run may be adding to what is on the stage. */
  private running = false;

  constructor(
    private readonly history: History,
    /** The stage is empty. */
    private readonly onEmpty: () => void,
  ) {
    const say = (error: unknown) => this.say(`The browser refused: ${error instanceof Error ? error.message : error}`);
    this.clearButton.addEventListener('click', () => (this.sure ? void this.clear().catch(say) : this.ask()));
    this.saveButton.addEventListener('click', () => void this.saveAll().catch(say));
  }

  /** Says what became of the images beside their being shown. */
  private say(text: string): void {
    this.kept.textContent = text;
    this.kept.hidden = text === '';
    announce(text);
  }

  /**
   * Shows the sheets of earlier visits, the newest first; one that an earlier version kept otherwise is left out. The newest one that
   * was `here` goes on the stage, where nothing has begun meanwhile.
   */
  async recall(sheetOf: (job: Job, id: string) => Sheet, here: (job: Job) => boolean): Promise<void> {
    for (const { id, job, pictures } of await this.history.all()) {
      try {
        const sheet = sheetOf(job, id);
        for (const [at, picture] of pictures) sheet.show(at, picture);
        sheet.trim();
        this.earlier.push(sheet);
      } catch {
        // It stays where it is, for the version that can read it.
      }
    }
    const begun = this.present && !this.present.root.matches('.draft');
    const last = begun ? undefined : this.earlier.find(({ job }) => here(job));
    if (last) {
      this.earlier = this.earlier.filter((sheet) => sheet !== last);
      return this.stageSheet(last);
    }
    this.bound();
    this.update();
  }

  /** Lets the oldest sheets go where there are too many. */
  private bound(): void {
    let [images, bytes] = [0, 0];
    const over = this.earlier.findIndex(({ pictures }, k) => {
      images += pictures.size;
      for (const picture of pictures.values()) bytes += bytesOf(picture);
      // The newest stays, however large.
      return k > 0 && (images > KEPT || bytes > KEPT_BYTES);
    });
    if (over < 0) return;
    const gone = this.earlier.splice(over).map(({ id }) => id);
    // What cannot be deleted now is bound at the next visit.
    this.history.remove(gone).catch(() => undefined);
  }

  /** Lays a sheet on the stage; what lay there moves down, if it has images. */
  stageSheet(sheet: Sheet): void {
    const before = this.present;
    this.present = sheet;
    this.stage.replaceChildren(sheet.root);
    if (before?.pictures.size && before.job.kind !== 'live') {
      before.trim();
      this.earlier.unshift(before);
    }
    this.bound();
    this.update();
  }

  /** Keeps what a sheet has for later visits. */
  keep(sheet: Sheet): void {
    this.offer();
    if (sheet.job.kind === 'live') return;
    this.history.put(sheet).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : error;
      this.say(`The browser keeps no more images for your next visit (${why}): save those that you want, and clear the others.`);
    });
  }

  /** What a job that is on the stage still lacks. */
  rest(job: Job): Job {
    return this.present?.job === job ? restOf(job, this.present.finished) : job;
  }

  /** Whether the stage shows images that a change of settings must not replace. */
  get occupied(): boolean {
    return (this.present?.pictures.size ?? 0) > 0 && this.present?.job.kind !== 'live';
  }

  /** What is deleted does not come back: a second press within some seconds does it. */
  private ask(): void {
    const images = this.clearable.reduce((all, { pictures }) => all + pictures.size, 0);
    this.sure = true;
    this.clearButton.textContent = `Delete ${images === 1 ? 'the image' : `all ${images} images`}? Press again`;
    announce(this.clearButton.textContent);
    setTimeout(() => this.calm(), SURE);
  }

  private calm(): void {
    this.sure = false;
    this.clearButton.textContent = 'Clear';
  }

  /** What “Clear” is for: the earlier sheets; without any, the one on the stage, unless a run is making it. */
  private get clearable(): Sheet[] {
    return this.earlier.length || !this.present || this.running ? this.earlier : [this.present];
  }

  /** Follows the page's state. */
  follow(running: boolean): void {
    this.running = running;
    this.offer();
  }

  /** They leave the page once the browser has forgotten them. */
  private async clear(): Promise<void> {
    this.calm();
    const gone = this.clearable;
    await this.history.remove(gone.map(({ id }) => id));
    this.earlier = this.earlier.filter((sheet) => !gone.includes(sheet));
    if (this.present && gone.includes(this.present)) {
      this.present = undefined;
      this.stage.replaceChildren();
    }
    this.update();
    if (!this.present) this.onEmpty();
  }

  private async saveAll(): Promise<void> {
    const sheets = [...(this.present ? [this.present] : []), ...this.earlier];
    const files = sheets.flatMap((sheet, k) =>
      sheet.places.map((at) => ({ name: `${String(sheets.length - k).padStart(3, '0')}-${sheet.fileName(at)}.png`, blob: sheet.pictures.get(at)?.blob })),
    );
    save(await zip(files.flatMap(({ name, blob }) => (blob ? [{ name, blob }] : []))), 'guided-diffusion.zip');
    announce(`${files.length} images saved`);
  }

  private update(): void {
    keepFocus(() => {
      this.place.replaceChildren(...this.earlier.map(({ root }) => root));
      this.empty.hidden = this.earlier.length > 0;
      this.offer();
    }, this.title);
  }

  /** The buttons for what there is. */
  private offer(): void {
    this.clearButton.hidden = this.saveButton.hidden = this.earlier.length === 0 && !this.occupied;
    this.clearButton.disabled = this.clearable.length === 0;
  }
}
