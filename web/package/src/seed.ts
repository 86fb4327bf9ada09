/** A seed of 32 bits, so that people can type it; seeds may have 64. */
export function randomSeed(): bigint {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
}
