/**
 * Generates and cancels on the page again and again, in each browser, after `make web-build`, and says what that leaves in memory:
 *
 *     node web/tests/rounds.mjs [ROUNDS]     200 without an argument; BROWSERS=firefox for one browser
 *
 * Counted is what the system gave to all processes of the browser, which is everything but files that are mapped: pages, workers,
 * wasm, the software GPU, and images wherever they lie. It ends with an error where that grows by more than a round's pixels would take, or where a round
 * leaves buffers, pipelines or wasm memory. Minutes long, so not for CI.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { browsers } from './lib/browsers.mjs';
import { QUICK, counts, start, status } from './page/harness.mjs';

const ROUNDS = Number(process.argv[2] ?? 200);
/** Rounds between two measurements. */
const EVERY = 5;
/** What the path of a browser's program has in it. */
const PROGRAMS = { chromium: 'chrom', firefox: 'firefox' };
/** A browser with a model takes more; less was not measured. */
const LEAST = 50e6;
/** Rounds before the first measurement: what is made once is no leak. */
const WARM = 20;
/** Bytes per round that are no growth: images of 32 x 32 pixels take 4 KiB each, and a run has its preview and its frame. */
const NOISE = 64 * 1024;

/**
 * Bytes of all processes of a browser that this one has started, by their kind: their own, and their share of what they have in common. A
 * program's file is left out: each process's share of it depends on how many other browsers run, as one beside Firefox does.
 */
function memory(browser) {
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
  const bytes = {};
  for (const id of parents.keys()) {
    if (id === String(process.pid) || !ours(id)) continue;
    try {
      const words = readFileSync(`/proc/${id}/cmdline`, 'utf8').split(/[\0 ]/).filter(Boolean);
      if (!words[0]?.includes(PROGRAMS[browser])) continue;
      const kind = words.find((word) => word.startsWith('--type='))?.slice(7) ?? (words.includes('-contentproc') ? words.at(-1) : 'browser');
      const shares = readFileSync(`/proc/${id}/smaps_rollup`, 'utf8').matchAll(/^Pss_(?:Anon|Shmem):\s+(\d+)/gm);
      for (const [, kilobytes] of shares) bytes[kind] = (bytes[kind] ?? 0) + 1024 * Number(kilobytes);
    } catch {
      // As above.
    }
  }
  return bytes;
}

const sum = (parts) => Object.values(parts).reduce((a, b) => a + b, 0);

/**
 * How much more there is with each measurement: the median slope of all pairs (Theil and Sen), which a step that happens once, such
 * as a browser's process that begins to do something, does not change.
 */
function slope(values) {
  const pairs = values.flatMap((value, at) => values.slice(0, at).map((before, k) => (value - before) / (at - k)));
  return pairs.sort((a, b) => a - b)[Math.floor(pairs.length / 2)];
}

for (const { id, name } of browsers()) {
  const site = await start({ trained: true });
  /** Where the browser can be asked for it, what nobody holds any more is collected first. */
  let collect = async () => {};
  try {
    const page = id === 'firefox' ? await site.openFirefox({ hash: QUICK }) : (await site.open()).page;
    if (id === 'chromium') {
      const session = await page.context().browser().newBrowserCDPSession();
      collect = () => session.send('Memory.simulatePressureNotification', { level: 'critical' });
    }
    await status(page, 'Ready');
    await page.fill('#steps', '200');
    const values = [];
    let before;
    for (let round = 0; round < WARM + ROUNDS; round++) {
      await page.click('#generate');
      await status(page, 'Step');
      await page.click('#cancel');
      await status(page, 'Cancelled');
      if (round === WARM) before = await counts(page);
      if (round < WARM || round % EVERY) continue;
      await collect();
      await page.waitForTimeout(200);
      values.push(memory(id));
    }
    const after = await counts(page);
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    const growth = slope(values.map(sum)) / EVERY;
    console.log(`${name}: ${ROUNDS} rounds, ${(growth / 1024).toFixed(1)} KiB per round`);
    for (let at = 0; at < 5; at++) {
      const parts = values[Math.round((at * (values.length - 1)) / 4)];
      console.log(`  ${megabytes(sum(parts))}: ${Object.entries(parts).map(([kind, bytes]) => `${kind} ${megabytes(bytes)}`).join(', ')}`);
    }
    const { buffers, gpuBytes, pipelines, wasm } = after;
    console.log(`  at the end ${buffers} buffers of ${megabytes(gpuBytes)}, ${pipelines} pipelines made, ${megabytes(wasm)} of wasm memory`);
    if (JSON.stringify(after) !== JSON.stringify(before)) console.log(`  which it was not at the start: ${JSON.stringify(before)}`);
    const isMeasured = values.length > 1 && values.every((parts) => sum(parts) > LEAST);
    if (!isMeasured) console.log('  memory was not measured: more rounds are needed, or a system with /proc');
    if (!isMeasured || growth > NOISE || JSON.stringify(after) !== JSON.stringify(before)) process.exitCode = 1;
  } finally {
    await site.close();
  }
}
