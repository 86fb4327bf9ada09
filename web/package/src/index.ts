/** The package's entry. */
export type * from './types.js';
