/** A recorded run of the model that the page opens with: examples until there are images of the visitor's own, and a film for browsers that cannot make any. */
import { byId, element, paint } from './dom.js';
import type { Sheet } from './gallery.js';
import type { ModelChoice } from './models.js';
import { part, unstrip } from './picture.js';
import { wait } from './plain.js';

/** Milliseconds that a step is shown, and the last one. */
const FRAME = 160;
const LAST = 2500;

/** What web/tests/record.mjs writes. */
interface Film {
  caption: string;
  /** The classes, in order. */
  names: string[];
  /** Steps done at each row of the film. */
  steps: number[];
}

/** The film as images by step and class. */
interface Recorded extends Film {
  rows: ImageData[][];
}

let recorded: Promise<Recorded> | undefined;

async function get(file: string): Promise<Response> {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status}`);
  return response;
}

async function read(): Promise<Recorded> {
  const [film, strip] = await Promise.all([
    get('recorded.json').then((response) => response.json() as Promise<Film>),
    get('recorded.webp').then((response) => response.blob()),
  ]);
  const rows = (await unstrip(strip, film.steps.length)).map((row) => {
    const side = row.width / film.names.length;
    return film.names.map((_, at) => part(row, at * side, 0, side, row.height));
  });
  return { ...film, rows };
}

/** The recording, read once; where that fails, the next call tries again. */
function recording(): Promise<Recorded> {
  recorded ??= read().catch((error: unknown) => {
    recorded = undefined;
    throw error;
  });
  return recorded;
}

/** With reduced motion, nothing moves by itself. */
const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

let played = false;

/** Whether the recorded images are of the kind that a model makes. */
export const exemplifies = ({ linked }: ModelChoice) => linked !== null && ['emoji', 'emoji-guided', 'stack'].includes(linked.kind);

/** Shows examples in the frames of a sheet whose images are not made yet, the first time as they formed; of a class, there is one. */
export async function showExamples(sheet: Sheet, words: string): Promise<void> {
  const { cells, settings } = sheet.job;
  const { caption, names, rows } = await recording();
  // Before the model is there, its classes are not known.
  const shown = settings.label === null ? cells.map(({ label, index }) => label ?? index % names.length) : [settings.label];
  if (!shown.some((label) => label < names.length)) return;
  for (const row of played || still() ? rows.slice(-1) : rows) {
    if (!sheet.root.isConnected) return;
    sheet.showExamples(shown.map((label) => row[label]), `${words}. ${caption}`);
    await wait(FRAME);
  }
  played = true;
}

let shown = false;

/** Shows the film, once. */
export async function showRecorded(): Promise<void> {
  const { caption, names, steps, rows } = await recording();
  if (shown) return;
  shown = true;
  const canvases = names.map((name) => {
    const canvas = element('canvas');
    canvas.role = 'img';
    canvas.ariaLabel = `${name}, generated`;
    return canvas;
  });
  const items = canvases.map((canvas, at) =>
    element('li', {}, element('div', { className: 'frame' }, canvas), element('span', { className: 'frame-edge' }, names[at] ?? '')),
  );
  const frames = element('ol', { className: 'frames' }, ...items);
  frames.style.setProperty('--wide', '6');
  frames.style.setProperty('--narrow', '3');
  const slider = element('input', { type: 'range', min: '0', max: String(rows.length - 1), step: '1', ariaLabel: 'Step' });
  const said = element('p', { className: 'edge' });
  byId('recorded-film', HTMLElement).replaceChildren(said, frames, slider);
  byId('recorded', HTMLElement).hidden = false;

  const show = (k: number) => {
    rows[k]?.forEach((pixels, at) => paint(canvases[at] as HTMLCanvasElement, pixels));
    slider.value = String(k);
    said.textContent = `${caption}: step ${steps[k]} of ${steps.at(-1)}`;
  };
  let timer = 0;
  const play = (k: number) => {
    show(k);
    timer = setTimeout(() => play((k + 1) % rows.length), k === rows.length - 1 ? LAST : FRAME);
  };
  slider.addEventListener('input', () => {
    clearTimeout(timer);
    show(Number(slider.value));
  });
  // Otherwise only the slider moves it.
  if (still()) show(rows.length - 1);
  else play(0);
}
