/** The choice of a model: one of those that come with the page, one from a URL, or files picked or dropped on the page. */
import { fileName, type LoadOptions, type ModelSource } from 'guided-diffusion';
import { byId } from './dom.js';
import { type BuiltIn, type LinkedModel, parseUrl } from './settings.js';

export interface ModelChoice {
  source: ModelSource;
  options: LoadOptions;
  /** Enlarges the model's images. */
  upsampler: ModelSource | null;
  name: string;
  /** What its images show, in a word; '' where that is not known. */
  makes: string;
  /** Images at once; 0 to choose by the run. */
  batch: number;
  /** How a link names it. */
  linked: LinkedModel | null;
}

const kinds = ['emoji', 'fashion', 'stack', 'url', 'file'] as const;
type Kind = (typeof kinds)[number];

const builtIn = (name: string) => new URL(`models/${name}.safetensors`, document.baseURI).href;

export class ModelPicker {
  private readonly form = byId('model-form', HTMLFormElement);
  private readonly url = byId('model-url', HTMLInputElement);
  private readonly classifierUrl = byId('classifier-url', HTMLInputElement);
  private readonly upsamplerUrl = byId('upsampler-url', HTMLInputElement);
  private readonly file = byId('model-file', HTMLInputElement);
  private readonly classifierFile = byId('classifier-file', HTMLInputElement);
  private readonly upsamplerFile = byId('upsampler-file', HTMLInputElement);
  private readonly guided = byId('guided', HTMLInputElement);
  private readonly batch = byId('batch', HTMLSelectElement);
  private readonly precision = byId('precision', HTMLSelectElement);
  private readonly flags = byId('flags', HTMLInputElement);
  private readonly load = byId('load', HTMLButtonElement);
  private readonly state = byId('model-state', HTMLElement);

  constructor(
    private readonly onLoad: (choice: ModelChoice) => void,
    private readonly onPicture: (file: File) => void,
  ) {
    this.form.addEventListener('change', (event) => {
      const { name } = event.target as HTMLInputElement;
      if (name !== 'source') {
        // These make another model of the same file; files and URLs wait for the button.
        if (this.builtIn && (event.target as Element).matches('select, #guided')) this.request();
        return;
      }
      this.reveal();
      if (this.builtIn) this.request();
    });
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.request();
    });
    this.acceptDrops();
  }

  /** Shows a link's model; one from elsewhere is fetched only when the visitor says so. */
  write(model: LinkedModel): void {
    if (model.kind === 'url') {
      this.url.value = model.model;
      this.classifierUrl.value = model.classifier;
      this.upsamplerUrl.value = model.upsampler;
    }
    this.choose(model.kind);
  }

  /** Shows a choice that was made elsewhere, as by an earlier image, or before. */
  show({ source, options, upsampler, batch, linked }: ModelChoice): void {
    this.batch.value = String(batch);
    this.precision.value = options.precision ?? 'stored';
    this.flags.value = options.flags ?? '';
    if (linked) return this.write(linked);
    for (const [input, file] of [[this.file, source], [this.classifierFile, options.classifier], [this.upsamplerFile, upsampler]] as const) {
      put(input, file instanceof File ? file : undefined);
    }
    this.choose('file');
  }

  /** Loads one of the page's own models. */
  chooseBuiltIn(kind: BuiltIn): void {
    this.choose(kind);
    this.request();
  }

  /** Shows where a file is chosen, which the visitor must do. */
  askForFile(): void {
    this.choose('file');
    this.file.focus();
  }

  /** What is chosen, or null; `report` shows the visitor the wrong field. */
  read(report = true): ModelChoice | null {
    const valid = (input: HTMLInputElement, problem: string) => {
      input.setCustomValidity(problem);
      if (problem && report) input.reportValidity();
      return problem === '';
    };
    const options: LoadOptions = {};
    if (this.precision.value !== 'stored') options.precision = this.precision.value as 'f32' | 'f16-weights';
    const batch = Number(this.batch.value);
    if (this.kind === 'fashion') {
      options.classifier = builtIn('fashion32-classifier');
      return { source: builtIn('fashion32'), options, upsampler: null, name: 'Fashion', makes: 'clothes and shoes', batch, linked: { kind: 'fashion' } };
    }
    if (this.kind === 'emoji') {
      const guided = this.guided.checked;
      if (guided) options.classifier = builtIn('emoji32-classifier');
      return { source: builtIn('emoji32'), options, upsampler: null, name: guided ? 'Emoji, guided' : 'Emoji', makes: 'emoji', batch, linked: { kind: guided ? 'emoji-guided' : 'emoji' } };
    }
    if (this.kind === 'stack') {
      const upsampler = builtIn('emoji32-to-64');
      return { source: builtIn('emoji32'), options, upsampler, name: 'Emoji in two stages', makes: 'emoji', batch, linked: { kind: 'stack' } };
    }
    if (this.flags.value.trim()) options.flags = this.flags.value.trim();
    if (this.kind === 'file') {
      const file = this.file.files?.[0];
      if (!valid(this.file, file ? '' : 'Please choose a .safetensors or .pt file.') || !file) return null;
      const classifier = this.classifierFile.files?.[0];
      if (classifier) options.classifier = classifier;
      const upsampler = this.upsamplerFile.files?.[0] ?? null;
      return { source: file, options, upsampler, name: file.name, makes: '', batch, linked: null };
    }
    const wrong = 'Please enter an address that begins with https://';
    const model = parseUrl(this.url.value);
    const classifier = parseUrl(this.classifierUrl.value);
    if (!valid(this.url, model ? '' : wrong) || !model) return null;
    if (!valid(this.classifierUrl, classifier || !this.classifierUrl.value ? '' : wrong)) return null;
    const upsampler = parseUrl(this.upsamplerUrl.value);
    if (!valid(this.upsamplerUrl, upsampler || !this.upsamplerUrl.value ? '' : wrong)) return null;
    if (classifier) options.classifier = classifier;
    const linked = { kind: 'url' as const, model, classifier: classifier ?? '', upsampler: upsampler ?? '' };
    return { source: model, options, upsampler, name: fileName(model), makes: '', batch, linked };
  }

  /** A line about the model in use. */
  say(text: string): void {
    this.state.textContent = text || '\u00a0';
  }

  private request(): void {
    const choice = this.read();
    if (choice) this.onLoad(choice);
  }

  private get builtIn(): boolean {
    return this.kind !== 'url' && this.kind !== 'file';
  }

  private get kind(): Kind {
    return kinds.find((kind) => kind === new FormData(this.form).get('source')) ?? 'emoji';
  }

  private choose(kind: Kind | BuiltIn): void {
    const guided = kind === 'emoji-guided';
    if (guided || kind === 'emoji') this.guided.checked = guided;
    const radio = this.form.querySelector<HTMLInputElement>(`input[name=source][value=${guided ? 'emoji' : kind}]`);
    if (radio) radio.checked = true;
    this.reveal();
  }

  private reveal(): void {
    for (const kind of kinds) byId(`from-${kind}`, HTMLElement).hidden = kind !== this.kind;
    byId('flags-field', HTMLElement).hidden = this.builtIn;
    this.load.hidden = this.builtIn;
  }

  /** A dropped file is the model; of several, the classifier and the upsampler are found by their names. */
  private acceptDrops(): void {
    const veil = byId('drop', HTMLElement);
    const carriesFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
    addEventListener('dragover', (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      veil.hidden = false;
    });
    addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) veil.hidden = true;
    });
    addEventListener('drop', (event) => {
      veil.hidden = true;
      if (!carriesFiles(event)) return;
      event.preventDefault();
      const files = [...(event.dataTransfer?.files ?? [])];
      const picture = files.find(({ type }) => type.startsWith('image/'));
      if (picture) return this.onPicture(picture);
      const named = (pattern: RegExp) => (files.length > 1 ? files.find(({ name }) => pattern.test(name)) : undefined);
      const [classifier, upsampler] = [named(/classifier/i), named(/upsampl|-to-/i)];
      const model = files.find((file) => file !== classifier && file !== upsampler);
      if (!model) return;
      put(this.file, model);
      put(this.classifierFile, classifier);
      put(this.upsamplerFile, upsampler);
      this.choose('file');
      this.request();
    });
  }
}

/** The same model in a form that needs the least memory. */
export const smaller = (choice: ModelChoice): ModelChoice => ({ ...choice, batch: 1, options: { ...choice.options, precision: 'f16-weights' } });

/** Whether loading would give what is loaded. A file may have changed under its name, but is the same object then. */
export function alike(a: ModelChoice, b: ModelChoice | undefined): boolean {
  return a === b || (typeof a.source === 'string' && JSON.stringify(a) === JSON.stringify(b));
}

function put(input: HTMLInputElement, file: File | undefined): void {
  if (input.files?.[0] === file) return;
  const list = new DataTransfer();
  if (file) list.items.add(file);
  input.files = list.files;
}
