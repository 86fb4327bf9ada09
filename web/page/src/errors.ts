/** What can go wrong, in the words of the page: what happened, what to do about it, and buttons that do it. */
import { GuidedDiffusionError } from 'guided-diffusion';
import { button, byId, element } from './dom.js';

export type Remedy = 'retry' | 'restart' | 'fashion' | 'smaller' | 'dismiss';

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
  fashion: 'Use the fashion model',
  smaller: 'One image at a time, 16-bit weights',
  dismiss: 'Dismiss',
};

const browsers = [
  ['Chrome and Edge', '113 or newer on Windows, macOS and ChromeOS; 121 on Android 12; 144 to 147 on Linux, by GPU'],
  ['Safari', '26 or newer on macOS, iPhone, iPad and Vision Pro'],
  ['Firefox', '141 or newer on Windows; 147 on Macs with Apple silicon'],
] as const;

function browserList(): Node {
  const rows = browsers.flatMap(([name, versions]) => [
    element('dt', { textContent: name }),
    element('dd', { textContent: versions }),
  ]);
  return element('dl', { className: 'facts-list' }, ...rows);
}

const paragraph = (text: string) => element('p', { textContent: text });

/** Why an operation stopped that the visitor did not stop. */
function explain(error: unknown): Explanation {
  const message = error instanceof Error ? error.message : String(error);
  switch (error instanceof GuidedDiffusionError ? error.code : 'internal') {
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
        remedies: ['smaller', 'fashion'],
      };
    case 'bad-file':
      return { title: 'This file cannot be used', advice: [paragraph(message)], remedies: ['fashion', 'dismiss'] };
    case 'network':
      return navigator.onLine
        ? { title: 'The model could not be fetched', advice: [paragraph(message)], remedies: ['retry', 'fashion'] }
        : {
            title: 'You are offline',
            advice: [paragraph('This model is not stored in this browser yet. Loading goes on when the network is back.')],
            remedies: ['retry'],
          };
    case 'bad-options':
      return { title: 'This model cannot do that', advice: [paragraph(message)], remedies: ['dismiss'] };
    default:
      return {
        title: 'Something went wrong',
        advice: [paragraph(message), paragraph('This is a mistake in the program, not yours.')],
        remedies: ['restart'],
      };
  }
}

/** The place where an error is shown: an alert above the images. */
export class Notice {
  private readonly place = byId('notice', HTMLElement);

  constructor(private readonly onRemedy: (remedy: Remedy) => void) {}

  show(error: unknown): void {
    const explanation = explain(error);
    const buttons = explanation.remedies.map((remedy, at) =>
      button(
        remedyNames[remedy],
        () => {
          this.hide();
          if (remedy !== 'dismiss') this.onRemedy(remedy);
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
  }

  hide(): void {
    this.place.hidden = true;
    document.body.classList.remove('unusable');
    this.place.replaceChildren();
  }
}
