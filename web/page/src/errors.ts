/** What can go wrong, in the words of the page: what happened, what to do about it, and buttons that do it. */
import { browsers, type ErrorCode, GuidedDiffusionError } from 'guided-diffusion';
import { button, byId, element, keepFocus } from './dom.js';
import type { ModelChoice } from './models.js';
import { showRecorded } from './recorded.js';

export type Remedy = 'retry' | 'restart' | 'emoji' | 'fashion' | 'smaller' | 'dismiss';

interface Explanation {
  title: string;
  advice: (string | Node)[];
  remedies: Remedy[];
  /** Nothing can be generated until it is put right outside of the page. */
  final?: boolean;
}

const remedyNames: Record<Remedy, string> = {
  retry: 'Try again',
  restart: 'Restart the GPU',
  emoji: 'Use the emoji model',
  fashion: 'Use the fashion model',
  smaller: 'One image at a time, 16-bit weights',
  dismiss: 'Dismiss',
};

function browserList(): Node {
  const rows = browsers.flatMap(({ name, version, systems }) => [
    element('dt', { textContent: name }),
    element('dd', { textContent: `${version} or newer on ${systems}` }),
  ]);
  return element('dl', {}, ...rows);
}

const paragraph = (text: string) => element('p', { textContent: text });

/** Why an operation stopped that the visitor did not stop. */
function explain(error: unknown): Explanation {
  const message = error instanceof Error ? error.message : String(error);
  const code: ErrorCode = error instanceof GuidedDiffusionError ? error.code : 'internal';
  switch (code) {
    case 'no-webgpu':
      if (!isSecureContext) {
        return {
          title: 'This page needs a secure address',
          advice: [paragraph('Browsers offer the GPU only to pages from https:// or from this very machine (localhost).')],
          remedies: [],
          final: true,
        };
      }
      return {
        title: 'This browser has no WebGPU',
        advice: [paragraph('The model runs on your GPU through WebGPU. These browsers have it:'), browserList()],
        remedies: [],
        final: true,
      };
    case 'no-adapter':
      return {
        title: 'No GPU that this browser may use',
        advice: [
          paragraph(
            'The browser has WebGPU, but offers no adapter. Turn on hardware acceleration in its settings, update the ' +
              'graphics driver, and restart the browser; chrome://gpu or about:support say what is blocked, and why.',
          ),
        ],
        remedies: ['retry'],
        final: true,
      };
    case 'device-lost':
      return {
        title: 'The GPU stopped',
        advice: [paragraph('The driver was reset or taken away. Your images are kept; the run in progress is lost.')],
        remedies: ['restart'],
      };
    case 'out-of-memory':
      return {
        title: 'Not enough memory on the GPU',
        advice: [paragraph(message), paragraph('Close other tabs that use the GPU, or let the model take less.')],
        remedies: ['smaller', 'retry'],
      };
    case 'too-large':
      return {
        title: 'This model is too large for this GPU',
        advice: [paragraph(message)],
        remedies: ['smaller', 'emoji'],
      };
    case 'bad-file':
      return { title: 'This file cannot be used', advice: [paragraph(message)], remedies: ['emoji', 'dismiss'] };
    case 'network':
      return navigator.onLine
        ? { title: 'The model could not be fetched', advice: [paragraph(message)], remedies: ['retry', 'emoji'] }
        : {
            title: 'You are offline',
            advice: [paragraph('This model is not stored in this browser yet. Loading continues when the network is back.')],
            remedies: ['retry'],
          };
    case 'busy':
      return { title: 'The file is in use', advice: [paragraph(message)], remedies: ['retry', 'dismiss'] };
    case 'bad-options':
      return { title: 'This model cannot do that', advice: [paragraph(message)], remedies: ['dismiss'] };
    default:
      return {
        title: 'Something went wrong',
        advice: [paragraph(message), paragraph('This is a mistake in the program, not yours.')],
        remedies: ['restart', 'retry'],
      };
  }
}

/** The place where an error is shown: an alert above the images. */
export class Notice {
  private readonly place = byId('notice', HTMLElement);

  constructor(
    private readonly onRemedy: (remedy: Remedy) => void,
    /** Where the focus goes when the notice is gone. */
    private readonly fallbacks: () => HTMLElement[],
  ) {}

  /** `failed`: the model that it happened with, which is no remedy. */
  show(error: unknown, failed: ModelChoice | null): void {
    const explanation = explain(error);
    const remedies = explanation.remedies.map((remedy) => (remedy === 'emoji' && failed?.linked?.kind === 'emoji' ? 'fashion' : remedy));
    const buttons = remedies.map((remedy, at) =>
      button(
        remedyNames[remedy],
        () => {
          keepFocus(() => {
            this.hide();
            if (remedy !== 'dismiss') this.onRemedy(remedy);
          }, ...this.fallbacks());
        },
        at === 0 ? 'first' : 'second',
      ),
    );
    this.place.replaceChildren(
      element('h3', { textContent: explanation.title }),
      ...explanation.advice,
      ...(buttons.length ? [element('div', { className: 'buttons' }, ...buttons)] : []),
    );
    this.place.hidden = false;
    document.body.classList.toggle('unusable', explanation.final ?? false);
    if (explanation.final) void showRecorded().catch(() => undefined); // it is an extra
  }

  hide(): void {
    this.place.hidden = true;
    document.body.classList.remove('unusable');
    this.place.replaceChildren();
  }
}
