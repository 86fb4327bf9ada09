/**
 * A run's images as a sheet of frames: empty frames that hold the space, then previews, then finished images. The
 * sheet of the present run lies on the stage; earlier ones lie below it, the newest first.
 */
import type { GeneratedImage } from 'guided-diffusion';
import { announce, button, byId, element, paint } from './dom.js';
import type { LinkedModel, Settings } from './settings.js';

/** Images kept on the page; the oldest sheets go first. */
const KEPT = 500;

/** What a run was asked for, enough to ask for it again. */
export interface Request {
  settings: Settings;
  /** null for a model from a file, which a link cannot name. */
  model: LinkedModel | null;
  modelName: string;
  className: (label: number | null) => string;
}

interface SheetActions {
  /** Opens a finished image. */
  open: (sheet: Sheet, index: number) => void;
  reuse: (request: Request) => void;
  link: (request: Request) => Promise<void>;
}

/** One line about a run, as it is printed on a sheet's edge. */
function caption({ settings, className }: Request): string {
  const what = settings.label === null ? className(null) : className(settings.label);
  const sampler = settings.sampler === 'ddim' ? 'DDIM' : 'ancestral';
  const eta = settings.sampler === 'ddim' && settings.eta > 0 ? `, eta ${settings.eta}` : '';
  return `${what}, ${settings.steps} ${sampler} steps${eta}, guidance ${settings.guidance}, seed ${settings.seed}`;
}

interface Frame {
  item: HTMLLIElement;
  open: HTMLButtonElement;
  canvas: HTMLCanvasElement;
}

export class Sheet {
  readonly root = element('article', { className: 'sheet' });
  /** Finished images by their place in the run. */
  readonly images = new Map<number, GeneratedImage>();
  private readonly frames: Frame[];
  private readonly edge = element('p', { className: 'edge' });

  constructor(
    readonly request: Request,
    actions: SheetActions,
    private readonly labelOf: (index: number) => number | null,
    /** No run yet: frames that show what Generate will fill. */
    draft = false,
  ) {
    const { count } = request.settings;
    this.frames = Array.from({ length: count }, (_, index) => this.frame(index, () => actions.open(this, index)));
    const list = element('ol', { className: 'frames' }, ...this.frames.map(({ item }) => item));
    list.style.setProperty('--wide', String(columns(count)));
    list.style.setProperty('--narrow', String(Math.min(count, count <= 4 ? 2 : count <= 9 ? 3 : 4)));
    const again = button('Use these settings', () => actions.reuse(request), 'quiet');
    const link = button('Copy link', () => void this.copyLink(link, actions.link(request)), 'quiet');
    const head = element('div', { className: 'sheet-head' }, this.edge, element('div', { className: 'buttons' }, again, link));
    this.root.append(head, list);
    this.root.classList.toggle('draft', draft);
    this.edge.textContent = caption(request);
  }

  /** A preview, or with `finished` the image itself. */
  put(image: GeneratedImage, finished: boolean): void {
    const frame = this.frames[image.index];
    if (!frame) return;
    paint(frame.canvas, image.toImageData());
    frame.open.classList.remove('empty');
    frame.item.classList.toggle('forming', !finished);
    if (!finished) return;
    this.images.set(image.index, image);
    frame.open.disabled = false;
    frame.open.ariaLabel = `${this.nameOf(image.index)}, image ${image.index + 1} of ${this.frames.length}, open`;
  }

  /** Takes away the frames of images that were never finished, when the sheet leaves the stage. */
  trim(): void {
    this.frames.forEach(({ item }, index) => (item.hidden = !this.images.has(index)));
  }

  note(text: string): void {
    this.edge.textContent = `${caption(this.request)}. ${text}`;
  }

  nameOf(index: number): string {
    const label = this.labelOf(index);
    return (label === null ? '' : this.request.className(label)) || `Image ${index + 1}`;
  }

  private async copyLink(link: HTMLButtonElement, copied: Promise<void>): Promise<void> {
    const name = link.textContent;
    link.textContent = await copied.then(
      () => 'Link copied',
      () => 'Not allowed',
    );
    announce(link.textContent);
    setTimeout(() => (link.textContent = name), 2000);
  }

  private frame(index: number, onOpen: () => void): Frame {
    const canvas = element('canvas');
    paint(canvas, noise());
    const open = element('button', { type: 'button', className: 'frame empty', disabled: true }, canvas);
    open.ariaLabel = `${this.nameOf(index)}, not made yet`;
    open.addEventListener('click', onOpen);
    const number = element('span', { className: 'frame-number', textContent: String(index + 1) });
    const below = element('span', { className: 'frame-edge', ariaHidden: 'true' }, number);
    const label = this.labelOf(index);
    const name = label === null ? '' : this.request.className(label);
    if (name) below.append(element('span', { className: 'frame-name', textContent: name }));
    return { item: element('li', {}, open, below), open, canvas };
  }
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
  private readonly empty = byId('gallery-empty', HTMLElement);
  private earlier: Sheet[] = [];
  private present: Sheet | undefined;

  constructor() {
    this.clearButton.addEventListener('click', () => {
      this.earlier = [];
      this.update();
    });
  }

  /** Lays a sheet on the stage; what lay there moves down, if it has images. */
  stageSheet(sheet: Sheet): void {
    const before = this.present;
    this.present = sheet;
    this.stage.replaceChildren(sheet.root);
    if (!before?.images.size) return;
    before.trim();
    this.earlier.unshift(before);
    let kept = 0;
    this.earlier = this.earlier.filter((one) => (kept += one.images.size) <= KEPT);
    this.update();
  }

  /** Whether the stage shows images that a change of settings must not replace. */
  get occupied(): boolean {
    return (this.present?.images.size ?? 0) > 0;
  }

  private update(): void {
    this.place.replaceChildren(...this.earlier.map(({ root }) => root));
    this.clearButton.hidden = this.earlier.length === 0;
    this.empty.hidden = this.earlier.length > 0;
  }
}
