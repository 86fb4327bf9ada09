/**
 * The class field: an editable combobox with a list (the ARIA pattern of that name), which searches a thousand names
 * by any part of them. A native datalist would be smaller, but phones show it badly. What is no class is never taken for
 * another one: the field is invalid until it is put right.
 */
import { announce, byId, element } from './dom.js';

/** Names shown at once; more would only be scrolled past. */
const SHOWN = 60;

interface Choice {
  value: number | null;
  name: string;
  /** What a search is compared with. */
  key: string;
}

const plain = (text: string) =>
  text
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]/g, '')
    .toLowerCase()
    .trim();

export class ClassField {
  private readonly input = byId('class', HTMLInputElement);
  private readonly list = byId('class-list', HTMLUListElement);
  private choices: Choice[] = [];
  private found: Choice[] = [];
  private active = -1;
  private chosen: Choice | undefined;
  /** What was asked for before there were choices. */
  private early: number | null = null;

  constructor(private readonly onChange: () => void) {
    this.input.addEventListener('focus', () => this.input.select());
    this.input.addEventListener('click', () => this.open(''));
    this.input.addEventListener('input', () => this.open(this.input.value));
    this.input.addEventListener('keydown', (event) => this.onKey(event));
    this.input.addEventListener('blur', () => this.settle());
    // A press on the list must not take the focus from the field, or the list would close before the click.
    this.list.addEventListener('pointerdown', (event) => event.preventDefault());
    this.list.addEventListener('click', (event) => {
      const option = (event.target as Element).closest('[role=option]');
      if (option) this.choose(this.found[Number(option.getAttribute('data-at'))]);
    });
  }

  /** The classes of the model in use; `names` may be empty where its file does not name them. */
  offer(classes: number, names: string[]): void {
    const wanted = this.value;
    const invalid = !this.input.validity.valid;
    const typed = this.input.value;
    this.choices = [];
    if (classes > 0) this.choices.push({ value: null, name: 'All classes', key: 'all classes' });
    for (let label = 0; label < classes; label++) {
      const name = names[label] ?? `Class ${label}`;
      this.choices.push({ value: label, name, key: plain(`${name} ${label}`) });
    }
    this.input.disabled = classes === 0;
    this.close();
    this.value = wanted;
    if (classes === 0) this.input.value = 'This model has no classes';
    else if (invalid) this.take(typed);
  }

  get value(): number | null {
    return this.chosen ? this.chosen.value : this.early;
  }

  /** A label that the model does not have stays in the field, and is refused there. */
  set value(label: number | null) {
    this.early = label;
    this.chosen = this.choices.find((choice) => choice.value === label);
    this.input.value = this.chosen?.name ?? (label === null || this.choices.length === 0 ? '' : `Class ${label}`);
    this.input.setCustomValidity(this.chosen || this.choices.length === 0 ? '' : this.problem);
  }

  private get problem(): string {
    const text = this.input.value.trim();
    const which = this.choices.length > 2 ? `: there are ${this.choices.length - 1}` : '';
    return text
      ? `This model has no class “${text}”. Please choose one of its classes${which}.`
      : 'Please choose a class, or “All classes”.';
  }

  private open(search: string): void {
    const key = plain(search);
    const rank = (choice: Choice) => (choice.key.startsWith(key) ? 0 : 1);
    this.found = this.choices
      .filter((choice) => choice.key.includes(key))
      .sort((a, b) => rank(a) - rank(b))
      .slice(0, SHOWN);
    const options = this.found.map((choice, at) => {
      const option = element('li', { id: `class-${at}`, role: 'option', textContent: choice.name });
      option.dataset.at = String(at);
      option.ariaSelected = String(choice === this.chosen);
      return option;
    });
    if (options.length === 0) {
      options.push(element('li', { role: 'option', ariaDisabled: 'true', textContent: 'No class has this name' }));
    }
    this.list.replaceChildren(...options);
    this.list.hidden = false;
    this.input.ariaExpanded = 'true';
    this.activate(key === '' ? this.found.findIndex((choice) => choice === this.chosen) : 0);
  }

  private close(): void {
    this.list.hidden = true;
    this.input.ariaExpanded = 'false';
    this.input.removeAttribute('aria-activedescendant');
    this.active = -1;
  }

  private activate(at: number): void {
    this.list.querySelector('.active')?.classList.remove('active');
    this.active = this.found.length ? Math.max(0, Math.min(at, this.found.length - 1)) : -1;
    const option = this.list.children[this.active];
    if (this.active < 0 || !option) return this.input.removeAttribute('aria-activedescendant');
    option.classList.add('active');
    option.scrollIntoView({ block: 'nearest' });
    this.input.setAttribute('aria-activedescendant', option.id);
  }

  private onKey(event: KeyboardEvent): void {
    const closed = this.list.hidden;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (closed) return this.open('');
      this.activate(this.active + (event.key === 'ArrowDown' ? 1 : -1));
    } else if (event.key === 'Enter' && !closed) {
      event.preventDefault(); // else it would submit the form
      this.choose(this.found[this.active]);
    } else if (event.key === 'Escape' && !closed) {
      event.preventDefault();
      event.stopPropagation();
      this.choose(this.chosen);
      this.close(); // where there was nothing to go back to
    }
  }

  private choose(choice: Choice | undefined): void {
    if (!choice) return;
    const changed = choice !== this.chosen;
    this.chosen = choice;
    this.input.value = choice.name;
    this.input.setCustomValidity('');
    this.input.select();
    this.close();
    if (changed) this.onChange();
  }

  /** Leaving the field takes what was typed. */
  private settle(): void {
    if (this.list.hidden) return;
    this.close();
    const before = this.chosen;
    this.take(this.input.value);
    if (this.input.validity.valid && this.chosen !== before) this.onChange();
  }

  /** Takes a name or a number; anything else stays to be corrected, and is reported. */
  private take(text: string): void {
    const typed = plain(text);
    const found = this.choices.find((choice) => plain(choice.name) === typed || String(choice.value) === typed);
    this.chosen = found ?? this.chosen;
    this.input.value = found?.name ?? text;
    this.input.setCustomValidity(found ? '' : this.problem);
    if (!found) announce(this.input.validationMessage);
  }
}
