/** A suite of tests/conformance, wherever it runs. */

/**
 * Runs `suite` by the two functions of web/conformance, `choose` and `run`: how many tasks it has, its largest errors by kind, and what
 * failed.
 */
export async function runSuite({ choose, run }, suite) {
  const names = await choose(suite);
  const [worst, failures] = [new Map(), []];
  for (const [i, name] of names.entries()) {
    try {
      for (const check of JSON.parse(await run(i))) {
        // Of an op's many cases the worst is reported.
        const kind = check.name.split(' | ')[0];
        worst.set(kind, Math.max(worst.get(kind) ?? 0, check.error ?? Infinity));
        if (!check.passed) failures.push(`${check.name}: ${check.error} exceeds ${check.tolerance}`);
      }
    } catch (error) {
      failures.push(`${name}: ${error.message}`);
    }
  }
  return { count: names.length, worst, failures };
}
