/** Sampling: a run is cut into batches, and each batch's steps and images are reported as they come. */
import type { Calls, Event, RawImage, RawInput, RawPicture, RawSampleOptions } from '../protocol.js';
import type { Model } from '../wasm/guided_diffusion_web.js';
import type { Bits, ModelInfo } from '../types.js';
import { Failure } from './failure.js';
import { json } from './json.js';

const LARGEST = 2 ** 32 - 1;

export async function sample(
  { model, info }: { model: Model; info: ModelInfo },
  options: RawSampleOptions,
  input: RawInput[] | null,
  emit: (event: Event, transfer?: Transferable[]) => void,
  signal: AbortSignal,
): Promise<void> {
  checkInput(info, input);
  const labels = labelsOf(info, options, input);
  const images = options.count ?? input?.length ?? Math.max(options.classes?.length ?? 1, 1);
  const { firstIndex } = options;
  const natural = (n: number) => Number.isInteger(n) && n >= 0;
  if (!natural(images) || images === 0 || !natural(firstIndex) || firstIndex + images > LARGEST) {
    throw new Failure('bad-options', `${images} images from index ${firstIndex}: give whole numbers, at least one image`);
  }
  const each = info.width * info.height * info.channels;
  const { noise, init, mask } = options;
  if (noise && !(noise instanceof Float32Array && noise.length === images * each)) {
    throw new Failure('bad-options', `noise: give a Float32Array of ${images} x ${each} values, image after image`);
  }
  // Classes go by an image's index, as the program's, so that image k of a seed is the same in every run; given images have their own.
  const turn = options.classes?.length || !input ? firstIndex : 0;
  for (let done = 0; done < images; done += info.batch) {
    signal.throwIfAborted();
    const count = Math.min(info.batch, images - done);
    const rows = input && Array.from({ length: count }, (_, k) => input[(done + k) % input.length] as RawInput);
    const request = {
      settings: options.settings,
      previewEvery: options.previewEvery,
      init: init && sizeOf(init),
      mask: mask && sizeOf(mask),
      fit: options.fit,
      inside: options.inside,
      count,
      firstIndex: firstIndex + done,
      labels: labels.length ? Array.from({ length: count }, (_, k) => labels[(turn + done + k) % labels.length]) : [],
      input: rows?.[0]?.recipe ?? null,
    };
    const onStep = (step: number, steps: number, previews: RawImage[] | null) => {
      emit({ kind: 'step', step, steps, imagesDone: done, images, previews }, buffers(previews));
      return !signal.aborted;
    };
    const own = noise && byChannel(noise.subarray(done * each, (done + count) * each), info);
    const pictures = [init, mask].map((picture) => picture && new Uint8Array(picture.data)) as [Uint8Array?, Uint8Array?];
    const run = model.sample(json(request), rows && joined(rows), own, ...pictures, onStep);
    const made = (await run) as RawImage[] | undefined;
    if (!made) throw new DOMException('it was cancelled', 'AbortError');
    emit({ kind: 'images', images: made }, buffers(made));
  }
}

/** Bits per dimension of one picture. */
export async function bits(
  model: Model,
  { picture, label, fit, settings }: Calls['bits']['take'],
  emit: (event: Event) => void,
  signal: AbortSignal,
): Promise<Bits> {
  const labels = label === null ? [] : [label];
  const request = { settings, count: 1, firstIndex: 0, labels, previewEvery: 0, init: sizeOf(picture), fit, inside: false };
  const onStep = (step: number, steps: number) => {
    emit({ kind: 'step', step, steps, imagesDone: 0, images: 1, previews: null });
    return !signal.aborted;
  };
  const made = (await model.bits(json(request), new Uint8Array(picture.data), onStep)) as string | undefined;
  if (!made) throw new DOMException('it was cancelled', 'AbortError');
  return JSON.parse(made) as Bits;
}

const sizeOf = ({ width, height }: RawPicture) => ({ width, height });

function checkInput(info: ModelInfo, input: RawInput[] | null): void {
  const side = info.lowResolution;
  if (side !== null && !input?.length) {
    throw new Failure('bad-options', 'an upsampler needs images to enlarge; give them');
  }
  const wrong = input?.find(({ width, height }) => side !== null && (width !== side || height !== side));
  if (wrong) {
    const [have, want] = [`${wrong.width}x${wrong.height}`, `${side}x${side}`];
    throw new Failure('bad-options', `images of ${have}: this upsampler was loaded to enlarge ${want}; load it with another lowResolution`);
  }
}

/** The classes to take in turn: those asked for, the images' own, or all. */
function labelsOf(info: ModelInfo, { classes }: RawSampleOptions, input: RawInput[] | null): number[] {
  if (classes?.length) return classes;
  if (input) {
    const own = input.map(({ label }) => label);
    if (own.every((label) => label !== null)) return own;
    if (info.classes === 0) return [];
    throw new Failure('bad-options', 'the images do not say their classes, which this model needs; give `classes`');
  }
  return Array.from({ length: info.classes }, (_, k) => k).filter((k) => k !== info.nullClass);
}

function joined(rows: RawInput[]): Uint8Array {
  const out = new Uint8Array(rows.reduce((all, { rgba }) => all + rgba.length, 0));
  let at = 0;
  for (const { rgba } of rows) {
    out.set(rgba, at);
    at += rgba.length;
  }
  return out;
}

/** Images of channels last as ones of channels first. */
function byChannel(values: Float32Array, { width, height, channels }: ModelInfo): Float32Array {
  const pixels = width * height;
  return values.map((_, at) => {
    const [image, rest] = [Math.floor(at / (pixels * channels)), at % (pixels * channels)];
    return values[image * pixels * channels + (rest % pixels) * channels + Math.floor(rest / pixels)] ?? 0;
  });
}

function buffers(images: RawImage[] | null): Transferable[] {
  const arrays = images?.flatMap(({ values, rgba, png, inside }) => [values, rgba, png, inside?.x, inside?.noise, inside?.gradient]);
  return arrays?.flatMap((array) => (array ? [array.buffer as ArrayBuffer] : [])) ?? [];
}
