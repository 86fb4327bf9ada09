/**
 * Generates and cancels on the page again and again, in each browser, after `make web-build`, and says what that leaves in memory:
 *
 *     node web/tests/rounds.mjs [ROUNDS]     200 without an argument; BROWSERS=firefox for one browser
 *
 * Counted is what the system gave to all processes of the browser, which is everything: pages, workers, wasm, the software GPU.
 * It ends with an error where that grows by more than a round's pixels would take. Minutes long, so not for CI.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { browsers } from './lib/browsers.mjs';
import { QUICK, start, status } from './page/harness.mjs';

const ROUNDS = Number(process.argv[2] ?? 200);
/** Rounds before the first measurement: what is made once is no leak. */
const WARM = 20;
/** Bytes per round that are no growth: images of 32 x 32 pixels take 4 KiB each, and a run has its preview and its frame. */
const NOISE = 64 * 1024;

/** Bytes of all processes that this one has started: their own, and their share of what they have in common. */
function memory() {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const parents = new Map();
  for (const id of processes) {
    try {
      const stat = readFileSync(`/proc/${id}/stat`, 'utf8');
      parents.set(id, stat.slice(stat.lastIndexOf(')')).split(' ')[2]);
    } catch {
      // It has ended meanwhile.
    }
  }
  const ours = (id) => id === String(process.pid) || (parents.has(id) && ours(parents.get(id)));
  let bytes = 0;
  for (const id of parents.keys()) {
    if (id === String(process.pid) || !ours(id)) continue;
    try {
      bytes += 1024 * Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${id}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // As above.
    }
  }
  return bytes;
}

/** Least squares: how much more there is with each round. */
function slope(values) {
  const mean = (of) => of.reduce((a, b) => a + b, 0) / of.length;
  const [x, y] = [mean(values.map((_, k) => k)), mean(values)];
  const products = values.map((value, k) => (k - x) * (value - y));
  return products.reduce((a, b) => a + b, 0) / values.reduce((sum, _, k) => sum + (k - x) ** 2, 0);
}

for (const { id, name } of browsers()) {
  const site = await start();
  try {
    const page = id === 'firefox' ? await site.openFirefox({ hash: QUICK }) : (await site.open()).page;
    await status(page, 'Ready');
    await page.fill('#steps', '200');
    const values = [];
    for (let round = 0; round < WARM + ROUNDS; round++) {
      await page.click('#generate');
      await status(page, 'Step');
      await page.click('#cancel');
      await status(page, 'Cancelled');
      if (round >= WARM) values.push(memory());
    }
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    const growth = slope(values);
    console.log(`${name}: ${ROUNDS} rounds, from ${megabytes(values[0])} to ${megabytes(values.at(-1))}, ${(growth / 1024).toFixed(1)} KiB per round`);
    if (growth > NOISE) process.exitCode = 1;
  } finally {
    await site.close();
  }
}
