/** The page's address, which names what is made, so that it can be shared as it stands. */
import type { Job } from './jobs.js';
import { toLink } from './settings.js';

/** Milliseconds without a change after which “Live” has come to rest. */
const REST = 500;

export class Address {
  private resting = 0;

  /** null for a link; else the page wrote it, and a reload brings it back. `rolling`: each run had a new seed. */
  get own(): { rolling: boolean } | null {
    return (history.state as { rolling: boolean } | null) ?? null;
  }

  /** Whether the page wrote it for this job. */
  names({ settings, model }: Job): boolean {
    return this.own !== null && location.hash === toLink(settings, model);
  }

  /** Has it name a job. Browsers allow some changes per minute only: “Live” writes when it has come to rest. */
  show({ kind, settings, model }: Job, rolling: boolean): void {
    const write = () => {
      try {
        history.replaceState({ rolling }, '', toLink(settings, model));
      } catch {
        // The images matter more; “Copy link” has it, too.
      }
    };
    clearTimeout(this.resting);
    if (kind === 'live') this.resting = setTimeout(write, REST);
    else write();
  }

  /** Puts a link to a job, or to an image of it by its settings, on the clipboard. */
  async copy({ settings, model }: Job, own = settings): Promise<void> {
    await navigator.clipboard.writeText(new URL(toLink(own, model), location.href).href);
  }
}
