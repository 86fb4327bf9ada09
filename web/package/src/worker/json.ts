/** Plain data as the core reads it. */
import { Failure } from './failure.js';

/** JSON has neither NaN nor infinities: they would become null, and that silently a default. */
export function json(value: unknown): string {
  return JSON.stringify(value, (key, one: unknown) => {
    if (typeof one === 'number' && !Number.isFinite(one)) throw new Failure('bad-options', `${key}: ${one} was given; give a finite number`);
    return one;
  });
}
