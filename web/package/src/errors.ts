/** The errors that the package throws. */
import type { ErrorCode } from './types.js';

/** Something failed; `code` says why, the message what was expected and what to do. */
export class GuidedDiffusionError extends Error {
  override readonly name = 'GuidedDiffusionError';

  constructor(
    readonly code: ErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** What a cancelled call rejects with. */
export function aborted(): DOMException {
  return new DOMException('it was cancelled', 'AbortError');
}
