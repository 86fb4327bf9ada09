/** The noise that a seed means, as the core draws it: Philox4x32-10 and the Box-Muller transform (shaders/shared/philox.wgsl). */
import { GuidedDiffusionError } from './errors.js';
import { seedOf } from './seed.js';

/** The high and low word of a product of two. */
function wide(a: number, b: number): [number, number] {
  const product = BigInt(a >>> 0) * BigInt(b >>> 0);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

function philox(counter: number[], key: [number, number]): number[] {
  let [x = 0, y = 0, z = 0, w = 0] = counter;
  let [low, high] = key;
  for (let round = 0; round < 10; round++) {
    const [a, b] = [wide(0xd2511f53, x), wide(0xcd9e8d57, z)];
    [x, y, z, w] = [(b[0] ^ y ^ low) >>> 0, b[1], (a[0] ^ w ^ high) >>> 0, a[1]];
    [low, high] = [(low + 0x9e3779b9) >>> 0, (high + 0xbb67ae85) >>> 0];
  }
  return [x, y, z, w];
}

/**
 * The noise at share `share` (0 to 1) of the way from one image's to another's, by spherical interpolation (Shoemake 1985), which
 * keeps it as long as noise is. Throws `bad-options` for lengths that differ and a share that is no finite number.
 */
export function interpolateNoise(from: Float32Array, to: Float32Array, share: number): Float32Array {
  if (!(from instanceof Float32Array && to instanceof Float32Array && from.length === to.length && Number.isFinite(share))) {
    const lengths = `${from?.length} and ${to?.length} values, share ${share}`;
    throw new GuidedDiffusionError('bad-options', `noise to interpolate, ${lengths}: give two Float32Arrays of one length and a number`);
  }
  let [dot, a, b] = [0, 0, 0];
  from.forEach((value, i) => {
    const other = to[i] ?? 0;
    dot += value * other;
    a += value * value;
    b += other * other;
  });
  const angle = Math.acos(Math.min(1, Math.max(-1, dot / Math.sqrt(a * b))));
  const sin = Math.sin(angle);
  const [own, others] = sin > 1e-6 ? [Math.sin((1 - share) * angle) / sin, Math.sin(share * angle) / sin] : [1 - share, share];
  return from.map((value, i) => own * value + others * (to[i] ?? 0));
}

/**
 * The noise that image `index` of a seed begins with: `length` standard normal values (height x width x channels), equal to the
 * GPU's but for rounding. Throws `bad-options` for a seed that is no whole number of 64 bits, and for an index or a length that is
 * no whole number of 32 bits.
 */
export function seedNoise(seed: bigint | number, index: number, length: number): Float32Array {
  const bits = seedOf(seed);
  if (![index, length].every((one) => Number.isInteger(one) && one >= 0 && one < 2 ** 32)) {
    throw new GuidedDiffusionError('bad-options', `noise of image ${index}, ${length} values: give whole numbers from 0`);
  }
  const key: [number, number] = [Number(bits & 0xffffffffn), Number((bits >> 32n) & 0xffffffffn)];
  const out = new Float32Array(length);
  for (let block = 0; 4 * block < length; block++) {
    const words = philox([block, index, 0, 0], key).map((word) => (word >>> 8) + 1);
    for (let half = 0; half < 4; half += 2) {
      const radius = Math.sqrt(-2 * Math.log((words[half] ?? 1) / 2 ** 24));
      const angle = (2 * Math.PI * (words[half + 1] ?? 0)) / 2 ** 24;
      // What lies beyond the end is dropped.
      out.set([radius * Math.cos(angle), radius * Math.sin(angle)].slice(0, Math.max(0, length - 4 * block - half)), Math.min(length, 4 * block + half));
    }
  }
  return out;
}
