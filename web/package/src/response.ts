/** What a response says of its body. */

/**
 * The length of the body as it will be read; null where that is not known. A compressed body's header counts compressed
 * bytes, and one from another origin need not say that it is compressed.
 */
export function lengthOf({ headers, type }: Response): number | null {
  const length = headers.get('content-length');
  return length && type !== 'cors' && !headers.get('content-encoding') ? Number(length) : null;
}
