/** A recorded run, for browsers that cannot make one: the film of ten images, played and held at any step. */
import { byId, element, paint } from './dom.js';
import { part, unstrip } from './picture.js';

/** Milliseconds that a frame is shown, and the last one. */
const FRAME = 160;
const LAST = 2500;

/** What web/tests/record.mjs writes beside the film. */
interface Record {
  caption: string;
  names: string[];
  /** Steps done at each row of the film. */
  steps: number[];
}

let shown = false;

/** Shows it, once. */
export async function showRecorded(): Promise<void> {
  if (shown) return;
  shown = true;
  const [record, film] = await Promise.all([
    fetch('recorded.json').then((response) => response.json() as Promise<Record>),
    fetch('recorded.png').then((response) => response.blob()),
  ]);
  const rows = await unstrip(film, record.steps.length);
  const canvases = record.names.map((name) => {
    const canvas = element('canvas');
    canvas.role = 'img';
    canvas.ariaLabel = `${name}, generated`;
    return canvas;
  });
  const items = canvases.map((canvas, at) =>
    element('li', {}, element('div', { className: 'frame' }, canvas), element('span', { className: 'frame-edge' }, record.names[at] ?? '')),
  );
  const frames = element('ol', { className: 'frames' }, ...items);
  frames.style.setProperty('--wide', '5');
  frames.style.setProperty('--narrow', '3');
  const slider = element('input', { type: 'range', min: '0', max: String(rows.length - 1), step: '1', ariaLabel: 'Step' });
  const said = element('p', { className: 'edge' });
  byId('recorded-film', HTMLElement).replaceChildren(said, frames, slider);
  byId('recorded', HTMLElement).hidden = false;

  const show = (k: number) => {
    const row = rows[k];
    if (!row) return;
    const side = row.width / canvases.length;
    canvases.forEach((canvas, at) => paint(canvas, part(row, at * side, 0, side, row.height)));
    slider.value = String(k);
    said.textContent = `${record.caption}: step ${record.steps[k]} of ${record.steps.at(-1)}`;
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
  // With reduced motion, only the slider moves it.
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) show(rows.length - 1);
  else play(0);
}
