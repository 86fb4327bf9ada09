/** The few functions that reading and building the document takes. */

/** The element of index.html with this id; a missing one is a mistake of ours. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return found;
}

type Properties<K extends keyof HTMLElementTagNameMap> = Partial<Omit<HTMLElementTagNameMap[K], 'style'>>;

/** A new element. Strings become text, never markup. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties<K> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

export function button(text: string, onClick: () => void, className = 'second'): HTMLButtonElement {
  const made = element('button', { type: 'button', className, textContent: text });
  made.addEventListener('click', onClick);
  return made;
}

/** Whether an element can have the focus. */
const usable = (one: Element) => one.isConnected && !one.matches(':disabled') && one.checkVisibility();

/** Changes the document; a focus that would be lost by that goes to the first of `instead` that can have it. The page stays where it is. */
export function keepFocus(change: () => void, ...instead: HTMLElement[]): void {
  const had = document.activeElement;
  change();
  if (had && had !== document.body && !usable(had)) instead.find(usable)?.focus({ preventScroll: true });
}

/** Announces to screen readers only. */
export function announce(text: string): void {
  byId('live', HTMLElement).textContent = text;
}

/** Draws pixels on a canvas of their size. */
export function paint(canvas: HTMLCanvasElement, pixels: ImageData): void {
  if (canvas.width !== pixels.width) canvas.width = pixels.width;
  if (canvas.height !== pixels.height) canvas.height = pixels.height;
  // Small images are enlarged many times: see style.css for how.
  canvas.classList.toggle('small', pixels.width <= 64);
  // A canvas in memory: one on the GPU would wait for a GPU that is busy with the model.
  canvas.getContext('2d', { willReadFrequently: true })?.putImageData(pixels, 0, 0);
}

/** A canvas in memory to draw on. */
export function surface(width: number, height: number): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no canvas');
  return context;
}

/** Closes a dialog by its close button and by a press outside of it, as Escape does. */
export function closable(dialog: HTMLDialogElement): void {
  dialog.addEventListener('click', (event) => {
    const target = event.target as Element;
    if (target === dialog || target.closest('[data-close]')) dialog.close();
  });
}

/** Gives a file to the visitor. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  element('a', { href: url, download: name }).click();
  // The browser has taken the blob by the next task.
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
