// Stands in for the package's entry in tests of what the page does when things overlap: loads and images end when the test says so,
// and nothing is computed. Everything else is the package's own.
import { GuidedDiffusionError } from './real.js';
export * from './real.js';

const SIDE = 8;

/** What the test looks into and steers; `fakeStart` has what holds from the beginning. */
const fake = (globalThis.fake = {
  /** Model files that were asked for, in order; the images that were made. */
  loads: [],
  made: [],
  disposed: 0,
  /** What waits for `release`: a file name of a model, `image`, `large` (an enlarged one), `engine` or `tuning`. */
  hold: new Set(globalThis.fakeStart?.hold),
  waiting: [],
  /** The next load of this name, or image, fails with this code. */
  fail: { ...globalThis.fakeStart?.fail },
  /** Releases what waits under this name. */
  release(name) {
    fake.hold.delete(name);
    for (const one of fake.waiting.filter((waiting) => waiting.name === name)) one.resolve();
    fake.waiting = fake.waiting.filter((one) => one.name !== name);
  },
  lose: () => undefined,
});

async function passed(name, signal) {
  signal?.throwIfAborted();
  if (fake.hold.has(name)) {
    await new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
      fake.waiting.push({ name, resolve });
    });
  }
  const code = fake.fail[name];
  delete fake.fail[name];
  if (code) throw new GuidedDiffusionError(code, `${name}: ${code}`);
}

function imageOf(index, label) {
  const pixels = new ImageData(SIDE, SIDE);
  pixels.data.fill(255);
  return {
    width: SIDE,
    height: SIDE,
    index,
    label,
    values: new Float32Array(SIDE * SIDE),
    noiseLevel: 1,
    inside: null,
    parameters: {},
    toImageData: () => pixels,
    toImageBitmap: () => createImageBitmap(pixels),
    toBlob: () => {
      const canvas = new OffscreenCanvas(SIDE, SIDE);
      canvas.getContext('2d').putImageData(pixels, 0, 0);
      return canvas.convertToBlob();
    },
  };
}

/** A run whose images are made one by one, in two steps each; `name`: what they wait under. */
function runOf({ count = 1, firstIndex = 0, classes = [], seed = 0n, signal }, name = 'image') {
  const steps = [];
  const images = [];
  let [wake, over] = [() => undefined, false];
  const say = (step, previews) => {
    steps.push({ step, steps: 2, imagesDone: images.length, images: count, previews });
    wake();
  };
  const result = (async () => {
    try {
      for (let k = 0; k < count; k++) {
        const image = imageOf(firstIndex + k, classes[(firstIndex + k) % classes.length] ?? null);
        say(1, [image]);
        say(2, [image]);
        await passed(name, signal);
        images.push(image);
        if (name === 'image') fake.made.push({ index: image.index, label: image.label });
        say(2, null);
      }
      return images;
    } finally {
      over = true;
      wake();
    }
  })();
  result.catch(() => undefined);
  return {
    result,
    images,
    seed,
    cancel: () => undefined,
    async *[Symbol.asyncIterator]() {
      while (steps.length || !over) {
        if (steps.length) yield steps.shift();
        else await new Promise((resolve) => (wake = resolve));
      }
      if (!signal?.aborted) await result;
    },
  };
}

export class GuidedDiffusion {
  adapter = { name: 'Fake', maxBufferSize: 1, maxBindingSize: 1 };
  lost = new Promise((resolve) => (fake.lose = () => resolve(new GuidedDiffusionError('device-lost', 'it was lost'))));

  static stored = () => Promise.resolve([{ url: 'https://example.org/kept.safetensors', sha256: '', bytes: 1, complete: true }]);

  static async create() {
    await passed('engine');
    return new GuidedDiffusion();
  }

  async load(source, { batch = 1, classifier, signal }) {
    const name = source instanceof File ? source.name : source.split('/').pop();
    fake.loads.push(name);
    await passed(name, signal);
    const edm = name.startsWith('edm');
    // The emoji guide themselves.
    const own = name.startsWith('emoji') && !classifier;
    const info = {
      role: 'diffusion', imageSize: SIDE, width: SIDE, height: SIDE, channels: 1, lowResolution: null, classes: own ? 11 : 10, nullClass: own ? 10 : null,
      classNames: ['../../T-shirt/top', ...Array.from({ length: 9 }, (_, k) => `${name} ${k + 1}`)], guided: !edm && !own, batch, process: edm ? 'edm' : 'discrete', diffusionSteps: 1000,
      defaults: edm ? { sampler: 'heun', steps: '18', guidance: null } : { sampler: 'ddim', steps: name.startsWith('emoji') ? 'ddim4' : 'ddim25', guidance: null },
      sha256: { model: '' }, kept: { model: false }, gpuBytes: 1e6, tuned: 0, warnings: [],
    };
    const upsample = (images, options) => runOf({ ...options, count: images.length, firstIndex: images[0].index }, 'large');
    return { info, sample: (options) => runOf(options), upsample, tune: () => Promise.reject(new Error('not here')), dispose: async () => void fake.disposed++ };
  }

  stored = () => Promise.resolve([]);
  storage = () => Promise.resolve({ usage: null, quota: null, persistent: false });
  deleteStored = () => Promise.resolve();
  deleteTuning = () => passed('tuning');
  dispose() {}
}
