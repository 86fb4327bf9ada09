/** Whatever is thrown in the worker, as an error that can cross to the main thread. */
import type { RawError } from '../protocol.js';
import type { ErrorCode } from '../types.js';

/** A failure that the worker itself finds; the core's errors have a `code` of their own. */
export class Failure extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A request that was not answered: without a network, or where the server does not let this page ask like that. */
export class Unanswered extends Failure {
  constructor(message: string, options?: ErrorOptions) {
    super('network', message, options);
  }
}

export function codeOf(error: unknown): ErrorCode | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? (error.code as ErrorCode) : null;
}

export function rawError(error: unknown, signal: AbortSignal): RawError {
  const stopped = error instanceof DOMException && error.name === 'AbortError';
  if (signal.aborted || stopped) return { name: 'AbortError', code: 'internal', message: 'it was cancelled' };
  const message = error instanceof Error ? error.message : String(error);
  const raw = { name: 'GuidedDiffusionError', code: codeOf(error) ?? 'internal', message };
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? { ...raw, cause } : raw;
}
