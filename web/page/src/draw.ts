/**
 * The drawing board: strokes, or a picture that is chosen, dropped or pasted, which the model turns into one of a class; what the
 * mask brush marks is made anew, and the rest stays as it is.
 */
import type { ModelInfo } from 'guided-diffusion';
import { byId, element, surface } from './dom.js';
import type { Given } from './jobs.js';
import { usualSteps } from './settings.js';

/** Pixels of the board's side: more than small models have, so that strokes are round. */
const SIDE = 256;
/** What is marked, and the brush of the keyboard: no colour that models are usually asked for. */
const MARK = '#9b30ff';
/** Names a drawing in the tab's storage, where it outlasts a reload. */
const KEPT = 'drawing';
/** Pixels by which a key moves the brush. */
const STRIDE = 8;

type Point = [x: number, y: number];

export class DrawingBoard {
  private readonly root = byId('draw', HTMLElement);
  private readonly toggle = byId('draw-toggle', HTMLButtonElement);
  private readonly board = byId('board', HTMLCanvasElement);
  private readonly form = byId('draw-form', HTMLFormElement);
  private readonly colour = byId('brush-colour', HTMLInputElement);
  private readonly size = byId('brush-size', HTMLInputElement);
  private readonly strength = byId('strength', HTMLInputElement);
  private readonly file = byId('draw-file', HTMLInputElement);
  private readonly marker = byId('brush-mark', HTMLInputElement);
  private readonly paint = surface(SIDE, SIDE);
  private readonly mask = surface(SIDE, SIDE);
  /** Grey, of a model that makes such images. */
  private grey = true;
  private pixels: [width: number, height: number] = [32, 32];
  private empty = true;
  private brush: Point = [SIDE / 2, SIDE / 2];
  private last: Point | null = null;

  /** Steps that mending takes at least; null where the model's own sampler does it. */
  private least: number | null = null;

  constructor(
    onMake: () => void,
    /** Something is drawn, or nothing any more, or the board is closed. */
    private readonly onChange: () => void,
  ) {
    [this.board.width, this.board.height] = [SIDE, SIDE];
    this.toggle.addEventListener('click', () => this.open(this.root.hidden !== false));
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      onMake();
    });
    this.form.addEventListener('change', () => this.sayTool());
    byId('draw-clear', HTMLButtonElement).addEventListener('click', () => this.clear());
    byId('draw-close', HTMLButtonElement).addEventListener('click', () => this.open(false));
    this.file.addEventListener('change', () => {
      const [file] = this.file.files ?? [];
      if (file) void this.take(file);
      this.file.value = '';
    });
    this.board.addEventListener('pointerdown', (event) => {
      this.board.setPointerCapture(event.pointerId);
      this.last = null;
      this.stroke(this.place(event));
    });
    this.board.addEventListener('pointermove', (event) => {
      // A drag that began elsewhere draws nothing.
      if (this.board.hasPointerCapture(event.pointerId)) for (const one of event.getCoalescedEvents?.() ?? [event]) this.stroke(this.place(one));
    });
    this.board.addEventListener('keydown', (event) => this.key(event));
    this.board.addEventListener('pointerup', () => this.sayTool());
    this.board.addEventListener('blur', () => this.show());
    addEventListener('pagehide', () => this.keep());
    void this.recall().catch(() => undefined); // the board is empty then
    addEventListener('paste', (event) => {
      const picture = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
      if (picture) void this.take(picture);
    });
  }

  /** The model that pictures are made by. */
  offer({ channels, width, height, process }: ModelInfo): void {
    this.pixels = [width, height];
    this.least = process === 'consistency' ? null : usualSteps('ddim');
    // No sampler edits by a model of EDM's process.
    const marks = process !== 'edm';
    this.marker.disabled = !marks;
    if (!marks && this.marker.checked) byId('brush-paint', HTMLInputElement).checked = true;
    if (!marks) this.mask.clearRect(0, 0, SIDE, SIDE);
    this.sayTool();
    this.show();
    const grey = channels === 1;
    if (grey === this.grey && !this.empty) return;
    this.grey = grey;
    // Clothes lie on black, emoji on white.
    this.colour.value = grey ? '#d8d8d8' : '#e0703a';
    if (this.empty) this.clear();
  }

  /** Whether pictures can be made of it now. */
  enable(can: boolean): void {
    byId('draw-make', HTMLButtonElement).disabled = !can;
  }

  open(open: boolean): void {
    this.root.hidden = !open;
    this.onChange();
    this.toggle.ariaExpanded = String(open);
    if (open) this.board.focus();
    else this.toggle.focus();
  }

  /** Puts a picture on the board. */
  put(picture: CanvasImageSource & { width: number; height: number }): void {
    this.clear();
    const scale = Math.max(SIDE / picture.width, SIDE / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    this.paint.imageSmoothingEnabled = scale < 1;
    this.paint.drawImage(picture, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
    this.empty = false;
    this.open(true);
    this.show();
    this.changed();
  }

  /** The same of a file. */
  async take(file: Blob): Promise<void> {
    try {
      const bitmap = await createImageBitmap(file);
      this.put(bitmap);
      bitmap.close();
    } catch {
      this.open(true);
      this.say('This file cannot be read as a picture: choose a PNG, JPEG or WebP.');
    }
  }

  /** What is on it, of the model's size; null where nothing is. */
  read(): Given | null {
    if (this.empty) return null;
    const init = this.small(this.paint);
    for (let at = 0; at < init.data.length; at += 4) {
      const [red = 0, green = 0, blue = 0] = init.data.subarray(at, at + 3);
      if (this.grey) init.data.fill(Math.round(0.299 * red + 0.587 * green + 0.114 * blue), at, at + 3);
      init.data[at + 3] = 255;
    }
    return { init, mask: this.marked(), strength: Number(this.strength.value) };
  }

  /** Whether Generate is meant for it. */
  get drawn(): boolean {
    return !this.root.hidden && !this.empty;
  }

  /** A line beneath the buttons. */
  say(text: string): void {
    byId('draw-said', HTMLElement).textContent = text;
  }

  /** What is marked, of the model's size; null where nothing is. */
  private marked(): Given['mask'] {
    const { width, height, data: levels } = this.small(this.mask);
    const data = Uint8Array.from({ length: width * height }, (_, at) => ((levels[at * 4 + 3] ?? 0) > 127 ? 0 : 255));
    return data.includes(0) ? { width, height, data } : null;
  }

  /** Says what brush and mark do to the other settings. */
  private sayTool(): void {
    this.colour.disabled = this.tool !== 'paint';
    const marked = this.marked() !== null;
    this.strength.disabled = marked;
    const steps = this.least === null ? '' : `, in at least ${this.least} steps of DDNM`;
    byId('strength-hint', HTMLElement).textContent = marked
      ? `Only what is marked is made anew${steps}; strength does not matter then.`
      : 'Higher: truer to the class, farther from the drawing.';
  }

  private keep(): void {
    try {
      if (this.empty) sessionStorage.removeItem(KEPT);
      else sessionStorage.setItem(KEPT, JSON.stringify([this.paint, this.mask].map(({ canvas }) => textOf(canvas))));
    } catch {
      // A browser that keeps nothing.
    }
  }

  private async recall(): Promise<void> {
    const kept: unknown = JSON.parse(sessionStorage.getItem(KEPT) ?? '[]');
    if (!Array.isArray(kept) || kept.length !== 2) return;
    const [paint, mask] = await Promise.all(kept.map((text) => createImageBitmap(fileOf(String(text)))));
    if (!this.empty || !paint || !mask) return;
    this.paint.drawImage(paint, 0, 0);
    this.mask.drawImage(mask, 0, 0);
    this.empty = false;
    this.show();
    this.changed();
  }

  /** The board has changed. */
  private changed(): void {
    this.say('');
    this.sayTool();
    this.onChange();
  }

  private get tool(): 'paint' | 'mask' | 'rub' {
    return (new FormData(this.form).get('brush') ?? 'paint') as 'paint' | 'mask' | 'rub';
  }

  private get background(): string {
    return this.grey ? '#000' : '#fff';
  }

  private clear(): void {
    this.paint.fillStyle = this.background;
    this.paint.fillRect(0, 0, SIDE, SIDE);
    this.mask.clearRect(0, 0, SIDE, SIDE);
    this.empty = true;
    this.show();
    this.changed();
  }

  private place({ clientX, clientY }: PointerEvent): Point {
    const { left, top, width, height } = this.board.getBoundingClientRect();
    return [((clientX - left) / width) * SIDE, ((clientY - top) / height) * SIDE];
  }

  private stroke(to: Point): void {
    const from = this.last ?? to;
    const { tool } = this;
    for (const one of tool === 'rub' ? [this.paint, this.mask] : [tool === 'mask' ? this.mask : this.paint]) {
      one.globalCompositeOperation = one === this.mask && tool === 'rub' ? 'destination-out' : 'source-over';
      one.strokeStyle = tool === 'mask' ? MARK : tool === 'rub' ? this.background : this.colour.value;
      one.lineWidth = Number(this.size.value);
      one.lineCap = 'round';
      one.beginPath();
      one.moveTo(...from);
      // A dot where nothing moved.
      one.lineTo(to[0] + 0.01, to[1]);
      one.stroke();
      one.globalCompositeOperation = 'source-over';
    }
    const first = this.empty;
    this.empty = false;
    [this.last, this.brush] = [to, to];
    this.show();
    if (first) this.changed();
  }

  /** Arrow keys move the brush, the space bar draws from where it was last used. */
  private key(event: KeyboardEvent): void {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      const move = (at: number, by: number) => Math.min(SIDE, Math.max(0, at + by * STRIDE));
      this.brush = [move(this.brush[0], way[0] ?? 0), move(this.brush[1], way[1] ?? 0)];
      if (!event.shiftKey) this.last = null;
      else this.stroke(this.brush);
    } else if (event.key === ' ') this.stroke(this.brush);
    else return;
    event.preventDefault();
    this.sayTool();
    this.show(true);
  }

  private show(cursor = false): void {
    const context = this.board.getContext('2d', { willReadFrequently: true });
    if (!context) return;
    context.drawImage(this.paint.canvas, 0, 0);
    context.globalAlpha = 0.7;
    context.drawImage(this.mask.canvas, 0, 0);
    context.globalAlpha = 1;
    if (!cursor) return;
    context.strokeStyle = MARK;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(...this.brush, Number(this.size.value) / 2 + 2, 0, 7);
    context.stroke();
  }

  private small({ canvas }: OffscreenCanvasRenderingContext2D): ImageData {
    const to = surface(...this.pixels);
    to.imageSmoothingQuality = 'high';
    to.drawImage(canvas, 0, 0, ...this.pixels);
    return to.getImageData(0, 0, ...this.pixels);
  }
}

/** A canvas as a data URL. */
function textOf(from: OffscreenCanvas): string {
  const canvas = element('canvas', { width: from.width, height: from.height });
  canvas.getContext('2d')?.drawImage(from, 0, 0);
  return canvas.toDataURL();
}

/** The file in a data URL, which the page's policy does not let it fetch. */
const fileOf = (text: string) => new Blob([Uint8Array.from(atob(text.split(',')[1] ?? ''), (letter) => letter.charCodeAt(0))]);
