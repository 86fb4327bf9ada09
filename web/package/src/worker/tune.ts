/** Tuning: one kind of kernel after the other is measured, and the tuning cache is kept. */
import type { TuneProgress, TuneResult } from '../types.js';
import type { Model } from '../wasm/guided_diffusion_web.js';
import { readTuning, writeTuning } from './tuningCache.js';

/** `adapter`: whose tuning cache it is. */
export async function tune(
  model: Model,
  adapter: string,
  budgetMs: number | null,
  report: (progress: TuneProgress) => void,
  signal: AbortSignal,
): Promise<TuneResult> {
  const end = performance.now() + (budgetMs ?? Infinity);
  const tuner = model.tuner((await readTuning(adapter)) ?? undefined);
  const result: TuneResult = { measured: 0, changed: 0, left: 0, stored: true };
  try {
    // The first call measures nothing and counts what is left.
    for (let most = 0; !signal.aborted; most = 1) {
      const seconds = budgetMs === null ? undefined : Math.max(0, end - performance.now()) / 1000;
      const step = JSON.parse((await tuner.step(most, seconds)) as string) as Omit<TuneResult, 'stored'>;
      result.measured += step.measured;
      result.changed += step.changed;
      result.left = step.left;
      report({ done: result.measured, total: result.measured + result.left });
      if (step.left === 0 || step.measured < most) break;
    }
  } finally {
    if (result.measured > 0) result.stored = await writeTuning(adapter, tuner.cache());
    tuner.free();
  }
  signal.throwIfAborted();
  return result;
}
