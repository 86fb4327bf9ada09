/** The errors that the package throws. */
import type { ErrorCode } from './types.js';

/** Something failed: `code` says why, the message what was expected and what to do, `cause` is the browser's own error, if any. */
export class GuidedDiffusionError extends Error {
  /** That of the class. */
  override readonly name = 'GuidedDiffusionError';

  constructor(
    /** The kind of failure, for programs. */
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What a cancelled call rejects with. */
export function aborted(): DOMException {
  return new DOMException('it was cancelled', 'AbortError');
}

/** `work`, whose own errors (of a bad address, an object that cannot cross to the worker) become ones of the package. */
export function checked<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof GuidedDiffusionError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new GuidedDiffusionError('bad-options', `${what}: ${why}`, { cause });
  }
}
