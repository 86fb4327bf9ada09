/** One image, large: its parameters, and what can be done with it. */
import type { GeneratedImage } from 'guided-diffusion';
import { byId, closable, element, paint } from './dom.js';
import type { Request, Sheet } from './gallery.js';

interface ViewerActions {
  useSeed: (seed: bigint) => void;
  link: (request: Request) => Promise<void>;
}

export class Viewer {
  private readonly dialog = byId('viewer', HTMLDialogElement);
  private readonly canvas = byId('viewer-canvas', HTMLCanvasElement);
  private readonly title = byId('viewer-title', HTMLElement);
  private readonly facts = byId('viewer-facts', HTMLElement);
  private readonly said = byId('viewer-said', HTMLElement);
  private shown: { sheet: Sheet; index: number } | undefined;

  constructor(actions: ViewerActions) {
    closable(this.dialog);
    this.dialog.addEventListener('close', () => (this.shown = undefined));
    this.dialog.addEventListener('keydown', (event) => {
      if (event.key === 'ArrowLeft') this.turn(-1);
      if (event.key === 'ArrowRight') this.turn(1);
    });
    const on = (id: string, act: (sheet: Sheet, image: GeneratedImage) => Promise<string> | string | void) =>
      byId(id, HTMLButtonElement).addEventListener('click', async () => {
        const image = this.shown?.sheet.images.get(this.shown.index);
        if (!this.shown || !image) return;
        try {
          this.said.textContent = (await act(this.shown.sheet, image)) ?? '';
        } catch (error) {
          this.said.textContent = `The browser refused: ${error instanceof Error ? error.message : error}`;
        }
      });
    on('viewer-previous', () => this.turn(-1));
    on('viewer-next', () => this.turn(1));
    on('viewer-download', (sheet, image) => download(sheet, image));
    on('viewer-copy', async (_, image) => {
      const lines = Object.entries(image.parameters).map(([name, value]) => `${name}: ${value}`);
      await navigator.clipboard.writeText(lines.join('\n'));
      return 'Settings copied';
    });
    on('viewer-link', async (sheet) => {
      await actions.link(sheet.request);
      return sheet.request.model ? 'Link copied' : 'Link copied; it cannot name a model from your disk';
    });
    on('viewer-seed', (sheet) => {
      actions.useSeed(sheet.request.settings.seed);
      this.dialog.close();
    });
  }

  open(sheet: Sheet, index: number): void {
    this.show(sheet, index);
    if (!this.dialog.open) this.dialog.showModal();
  }

  private turn(by: number): void {
    if (!this.shown) return;
    const { sheet, index } = this.shown;
    const places = [...sheet.images.keys()].sort((a, b) => a - b);
    const next = places[places.indexOf(index) + by];
    if (next !== undefined) this.show(sheet, next);
  }

  private show(sheet: Sheet, index: number): void {
    const image = sheet.images.get(index);
    if (!image) return;
    this.shown = { sheet, index };
    paint(this.canvas, image.toImageData());
    const name = sheet.nameOf(index);
    this.canvas.ariaLabel = `${name}, generated`;
    this.title.textContent = name;
    this.said.textContent = '\u00a0';
    const { settings, modelName } = sheet.request;
    const facts = {
      Image: `${index + 1} of ${settings.count}, ${image.width} × ${image.height}`,
      Model: modelName,
      Seed: String(settings.seed),
      Steps: String(settings.steps),
      Sampler: settings.sampler === 'ddim' ? `DDIM, eta ${settings.eta}` : 'Ancestral',
      Guidance: String(settings.guidance),
    };
    this.facts.replaceChildren(
      ...Object.entries(facts).flatMap(([term, text]) => [
        element('dt', { textContent: term }),
        element('dd', { textContent: text }),
      ]),
    );
    const places = [...sheet.images.keys()];
    byId('viewer-previous', HTMLButtonElement).disabled = index === Math.min(...places);
    byId('viewer-next', HTMLButtonElement).disabled = index === Math.max(...places);
  }
}

/** Saves the PNG, which carries its parameters as text. */
async function download(sheet: Sheet, image: GeneratedImage): Promise<string> {
  const url = URL.createObjectURL(await image.toBlob());
  const words = `${sheet.nameOf(image.index)} seed ${sheet.request.settings.seed} ${image.index + 1}`;
  const name = `${words.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.png`;
  element('a', { href: url, download: name }).click();
  // The browser has taken the blob by the next task.
  setTimeout(() => URL.revokeObjectURL(url), 0);
  return `Saved as ${name}`;
}
