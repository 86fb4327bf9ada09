/** The settings as fields: what a run is started with, checked, and what a link or an earlier image puts there. */
import { randomSeed, samplers } from 'guided-diffusion';
import { ClassField } from './combobox.js';
import { byId, element } from './dom.js';
import type { Facts } from './jobs.js';
import { type Process, type Sampler, type Settings, type Usual, aboutSampler, bounds, offered, parseNumber, parseSeed, stepsOf, takesEta, titleOf, usualSteps } from './settings.js';

const numbers = ['count', 'steps', 'enlarge', 'guidance', 'eta', 'first'] as const;
type NumberName = (typeof numbers)[number];

export class SettingsForm {
  private readonly form = byId('settings', HTMLFormElement);
  private readonly seed = byId('seed', HTMLInputElement);
  private readonly dice = byId('dice', HTMLButtonElement);
  private readonly sampler = byId('sampler', HTMLSelectElement);
  private readonly classes: ClassField;
  private readonly fields: Record<NumberName, HTMLInputElement>;
  private before: Sampler = 'ddim';
  /** The seed of the last run. */
  private spent = '';
  private process: Process = 'discrete';
  private usual: Usual | undefined;
  /** Steps of the model's whole process. */
  private all = bounds.steps.max;
  private upsampler: Facts['upsampler'];

  /** `onChange` follows a finished change, `onInput` each one, `onSubmit` the Generate button or Enter. */
  constructor(
    private readonly onChange: () => void,
    onInput: () => void,
    onSubmit: () => void,
  ) {
    this.fields = Object.fromEntries(numbers.map((name) => [name, byId(name, HTMLInputElement)])) as Record<NumberName, HTMLInputElement>;
    this.classes = new ClassField(() => {
      onChange();
      onInput();
    });
    this.list('discrete');

    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      onSubmit();
    });
    this.form.addEventListener('change', (event) => {
      if (event.target === this.sampler) this.onSampler();
      const { target } = event;
      if (target === this.fields.steps || target === this.sampler) this.fitSteps();
      if (event.target === this.seed) this.roll(false);
      if (event.target !== byId('class', HTMLInputElement)) onChange();
    });
    this.form.addEventListener('input', onInput);
    for (const slider of this.form.querySelectorAll<HTMLInputElement>('input[data-for]')) {
      const name = slider.dataset.for as NumberName;
      slider.addEventListener('input', () => {
        this.fields[name].value = slider.value;
        if (name === 'steps') this.fitSteps(false);
      });
      this.fields[name].addEventListener('input', () => {
        slider.value = this.fields[name].value;
        // While it is typed: a line that came or went only when the field is left would move a button from under the pointer.
        if (name === 'steps') this.hintSteps();
      });
    }
    this.dice.addEventListener('click', () => {
      this.roll(!this.rolling);
      if (this.rolling) this.rollNow();
      onChange();
    });
  }

  /**
   * The model's classes and samplers, and whether guidance has something to come from. `keep`: settings that stay as they are; of
   * the others, those that depend on the model become what it is good with. null: all stay, as far as the model has them.
   */
  offer(model: Facts, keep: ReadonlySet<string> | null): void {
    const { usual, process } = model;
    // A class and an image of another model mean something else here.
    if (keep && !keep.has('label')) this.classes.value = null;
    if (keep && !keep.has('first')) this.setNumber('first', 0);
    this.classes.offer(model.classes, model.classNames);
    this.all = model.diffusionSteps;
    const before = this.sampler.value;
    this.list((this.process = process));
    const has = offered(process).some(({ name }) => name === before);
    this.sampler.value = has && (!keep || keep.has('sampler')) ? before : usual.sampler;
    const sampler = this.sampler.value as Sampler;
    // The steps of a sampler that the model does not have mean nothing for another.
    if (!has || (keep && !keep.has('steps'))) this.setNumber('steps', sampler === usual.sampler ? usual.steps : usualSteps(sampler, process));
    if (keep && !keep.has('guidance') && model.guided) this.setNumber('guidance', usual.guidance);
    this.upsampler = model.upsampler;
    // Unseen, it is not checked.
    byId('enlarge-field', HTMLElement).hidden = this.fields.enlarge.disabled = !model.upsampler;
    if (keep && !keep.has('enlarge') && model.upsampler) this.setNumber('enlarge', model.upsampler.usual.steps);
    this.usual = usual;
    this.before = sampler;
    this.fitSampler();
    this.fitSteps();
    this.fields.steps.max = String(Math.min(model.diffusionSteps, bounds.steps.max));
    for (const input of this.form.querySelectorAll<HTMLInputElement>('#guidance, [data-for=guidance]')) {
      input.disabled = !model.guided;
    }
    byId('guidance-hint', HTMLElement).textContent = model.guided
      ? 'Higher: truer to the class, less varied.'
      : 'This model came without a classifier to guide it.';
  }

  /** The settings, or null where a field is wrong, the first of which is shown to the visitor, unless `report` is false. */
  read(report = true): Settings | null {
    const values = new Map<NumberName, number>();
    for (const name of numbers) {
      const field = this.fields[name];
      const max = Math.min(Number(field.max), bounds[name].max);
      const value = parseNumber(field.value, { ...bounds[name], min: Number(field.min), max });
      const whole = bounds[name].whole ? 'a whole number' : 'a number';
      field.setCustomValidity(value === null ? `Please enter ${whole} from ${field.min} to ${max}.` : '');
      if (value !== null) values.set(name, value);
    }
    const seed = parseSeed(this.seed.value);
    this.seed.setCustomValidity(seed === null ? 'Please enter a whole number from 0 to 18446744073709551615.' : '');
    const wrong = this.form.querySelector<HTMLInputElement>('input:invalid');
    if (wrong || seed === null) {
      const hidden = wrong?.closest('details');
      if (hidden && report) hidden.open = true;
      if (report) wrong?.reportValidity();
      return null;
    }
    const { upsampler: second } = this;
    const enlarge = values.get('enlarge') ?? 1;
    return {
      label: this.classes.value,
      count: values.get('count') ?? 1,
      enlarge: second ? stepsOf(enlarge, second.usual.sampler, second.diffusionSteps) : enlarge,
      steps: stepsOf(values.get('steps') ?? 1, this.sampler.value as Sampler, this.all),
      sampler: this.sampler.value as Sampler,
      eta: values.get('eta') ?? 0,
      guidance: values.get('guidance') ?? 0,
      seed,
      first: values.get('first') ?? 0,
    };
  }

  write(settings: Settings): void {
    // Earlier versions kept fewer.
    for (const name of numbers) this.setNumber(name, settings[name] ?? this.fields[name].value);
    // A link's model may have it, though the one in use has not.
    if (!offered(this.process).some(({ name }) => name === settings.sampler)) this.list(null);
    this.sampler.value = settings.sampler;
    this.seed.value = String(settings.seed);
    this.classes.value = settings.label;
    this.before = settings.sampler;
    // It would be in force unseen.
    if (settings.first > 0) byId('more', HTMLDetailsElement).open = true;
    this.fitSampler();
    this.fitSteps();
  }

  /** Lists the samplers of a process, or all. */
  private list(process: Process | null): void {
    this.sampler.replaceChildren(
      ...(process ? offered(process) : samplers).map(({ name, summary }) => element('option', { value: name, textContent: titleOf(name), title: summary })),
    );
  }

  /** What depends on the sampler. */
  private fitSampler(): void {
    byId('sampler-hint', HTMLElement).textContent = `The sampler is the rule by which a step takes noise away. ${titleOf(this.before)}: ${aboutSampler(this.before)}`;
    this.fields.eta.disabled = !takesEta(this.before);
    const one = this.before === 'onestep';
    this.fields.steps.min = one ? '1' : String(bounds.steps.min);
    for (const input of this.form.querySelectorAll<HTMLInputElement>('#steps, [data-for=steps]')) input.disabled = one;
  }

  /** A line beneath the number of images. */
  say(text: string): void {
    byId('count-hint', HTMLElement).textContent = text || '\u00a0';
  }

  /** Says how many steps there will be, where those are others; null where the number is to be corrected. */
  private hintSteps(): number | null {
    const steps = parseNumber(this.fields.steps.value, bounds.steps);
    if (steps === null || steps > this.all) return null;
    const fitted = stepsOf(steps, this.sampler.value as Sampler, this.all);
    const hint = byId('steps-hint', HTMLElement);
    hint.hidden = fitted === steps;
    hint.textContent = `DDIM’s equal strides through ${this.all} timesteps give ${fitted} steps, not ${steps}.`;
    return fitted;
  }

  /** Takes the steps that there will be. `slide`: the slider follows. */
  private fitSteps(slide = true): void {
    const fitted = this.hintSteps();
    if (fitted === null) return;
    if (slide) this.setNumber('steps', fitted);
    else this.fields.steps.value = String(fitted);
  }

  /** Whether guidance is another than the model's usual one. */
  get ownGuidance(): boolean {
    const { disabled, value } = this.fields.guidance;
    return !disabled && this.usual !== undefined && Number(value) !== this.usual.guidance;
  }

  /** Whether each run gets a new seed. */
  get rolling(): boolean {
    return this.dice.ariaPressed === 'true';
  }

  roll(each: boolean): void {
    this.dice.ariaPressed = String(each);
  }

  /** Goes on after a reload: the seed that is shown was used. */
  resume(): void {
    this.roll(true);
    this.spent = this.seed.value;
  }

  /** As `read`, for a run that begins: a seed that was shown is used once, then another follows. */
  spend(): Settings | null {
    const settings = this.read();
    if (!settings) return null;
    if (this.rolling && this.seed.value === this.spent) this.rollNow();
    this.spent = this.seed.value;
    return { ...settings, seed: BigInt(this.spent) };
  }

  useSeed(seed: bigint): void {
    this.seed.value = String(seed);
    this.roll(false);
    this.onChange();
  }

  private rollNow(): void {
    this.seed.value = String(randomSeed());
  }

  private setNumber(name: NumberName, value: number | string): void {
    this.fields[name].value = String(value);
    const slider = this.form.querySelector<HTMLInputElement>(`input[data-for=${name}]`);
    if (slider) slider.value = String(value);
  }

  /** Samplers differ in how many steps they want: the usual number follows, a number of one's own stays. */
  private onSampler(): void {
    const now = this.sampler.value as Sampler;
    const usual = (sampler: Sampler) => (sampler === this.usual?.sampler ? this.usual.steps : usualSteps(sampler, this.process));
    if (Number(this.fields.steps.value) === usual(this.before) || usual(now) === 1) this.setNumber('steps', usual(now));
    this.before = now;
    this.fitSampler();
  }
}
