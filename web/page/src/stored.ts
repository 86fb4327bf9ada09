/** The models that this browser keeps: what they are, how large, and a way to delete each. */
import { fileName, type StoredModel } from 'guided-diffusion';
import { button, byId, closable, element, keepFocus } from './dom.js';
import { megabytes } from './plain.js';
import type { Runner } from './runner.js';

export class StoredDialog {
  private readonly dialog = byId('stored', HTMLDialogElement);
  private readonly list = byId('stored-list', HTMLUListElement);
  private readonly said = byId('stored-said', HTMLElement);
  private readonly room = byId('stored-room', HTMLElement);

  constructor(private readonly runner: Runner) {
    closable(this.dialog);
    byId('stored-open', HTMLButtonElement).addEventListener('click', () => {
      this.said.textContent = '\u00a0';
      this.dialog.showModal();
      void this.update();
    });
  }

  private async update(): Promise<void> {
    try {
      const [models, room] = [await this.runner.stored(), await this.runner.room()];
      this.room.textContent = room;
      const items = models.map((model) => this.item(model));
      if (!items.length) items.push(element('li', { className: 'hint', textContent: 'Nothing is stored.' }));
      keepFocus(
        () => this.list.replaceChildren(...items),
        ...items.flatMap((item) => [...item.querySelectorAll('button')]),
        ...this.dialog.querySelectorAll<HTMLElement>('[data-close]'),
      );
    } catch (error) {
      this.say(error);
    }
  }

  private item(model: StoredModel): HTMLLIElement {
    const name = fileName(model.url);
    const remove = button('Delete', () => void this.remove(model.url, name));
    remove.ariaLabel = `Delete ${name}`;
    const size = megabytes(model.bytes) + (model.complete ? '' : ' so far: the download will be resumed');
    const about = element(
      'div',
      {},
      element('strong', { textContent: name }),
      element('span', { className: 'hint', textContent: `${size}, from ${new URL(model.url, location.href).host}` }),
    );
    return element('li', {}, about, remove);
  }

  private async remove(url: string, name: string): Promise<void> {
    try {
      await this.runner.deleteStored(url);
      this.said.textContent = `${name} is deleted.`;
      await this.update();
    } catch (error) {
      this.say(error);
    }
  }

  private say(error: unknown): void {
    this.said.textContent = `Not done: ${error instanceof Error ? error.message : error}`;
  }
}
