/** Seeds of the noise: unsigned 64-bit integers. */
import { GuidedDiffusionError } from './errors.js';

/** A seed of 32 bits, so that people can type it; seeds may have 64. */
export function randomSeed(): bigint {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
}

/** The seed that was asked for, or a random one. Throws `bad-options` for an invalid seed. */
export function seedOf(asked: bigint | number | undefined): bigint {
  if (asked === undefined) return randomSeed();
  const whole = typeof asked === 'bigint' || Number.isSafeInteger(asked);
  const seed = whole ? BigInt(asked) : -1n;
  if (seed < 0n || seed >= 1n << 64n) {
    throw new GuidedDiffusionError('bad-options', `seed ${String(asked)}: give a whole number from 0 to 2^64 - 1, above 2^53 as a bigint`);
  }
  return seed;
}
