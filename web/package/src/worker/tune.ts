/** Tuning: one kind of kernel after the other is measured, and the table of the fastest is kept. */
import type { TuneProgress, TuneResult } from '../types.js';
import type { Model } from '../wasm/guided_diffusion_web.js';
import { readTable, writeTable } from './tables.js';

/** `adapter` is whose table it is. */
export async function tune(
  model: Model,
  adapter: string,
  budgetMs: number | null,
  report: (progress: TuneProgress) => void,
  signal: AbortSignal,
): Promise<TuneResult> {
  const end = performance.now() + (budgetMs ?? Infinity);
  const tuner = model.tuner((await readTable(adapter)) ?? undefined);
  const result: TuneResult = { measured: 0, changed: 0, left: 0, stored: true };
  try {
    // The first step counts what there is.
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
    if (result.measured > 0) result.stored = await writeTable(adapter, tuner.table());
    tuner.free();
  }
  signal.throwIfAborted();
  return result;
}
