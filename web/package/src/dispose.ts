/// <reference lib="esnext.disposable" preserve="true" />
/** `await using` for engines and models, in browsers that lack the symbol too. */

export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for('Symbol.asyncDispose') as typeof Symbol.asyncDispose);
