/**
 * Long tasks of a page's main thread, by the processor time that the thread had in them.
 *
 * The browser counts a task's time on the clock, and software drivers keep every processor busy: a task that computes
 * for a millisecond may take a hundred, waiting for a processor or for another process that does. Linux reports how long
 * each thread ran. A task that does nothing but wait is not seen.
 */
import { readFileSync } from 'node:fs';

/** Milliseconds that the main thread of each of these processes has run, by its number. */
function read(pids) {
  const ran = new Map();
  for (const pid of pids) {
    try {
      ran.set(pid, Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6);
    } catch {
      // The process is gone.
    }
  }
  return ran;
}

/** Milliseconds that one of the main threads, the busiest, ran from the first to the last of these samples. */
function busiest(samples) {
  const spans = new Map();
  for (const { ran } of samples) for (const [pid, ms] of ran) spans.set(pid, [spans.get(pid)?.[0] ?? ms, ms]);
  return Math.max(0, ...[...spans.values()].map(([first, last]) => last - first));
}

/** Runs in the page, first thing. */
function observe() {
  if (!PerformanceObserver.supportedEntryTypes.includes('longtask')) throw new Error('long tasks cannot be observed');
  window.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) window.longTasks.push({ startTime, duration });
  }).observe({ type: 'longtask', buffered: true });
}

/** Watches `page` from its next navigation. `found()` gives what took longer than `limit` ms. */
export async function watchLongTasks(browser, page, limit = 50) {
  await page.addInitScript(observe);
  const session = await browser.newBrowserCDPSession();
  const pids = new Set();
  const samples = [];
  const sample = () => samples.push({ at: performance.timeOrigin + performance.now(), ran: read(pids) });
  // Only the page's has anything to do; browsers do not say which one it is.
  const findProcesses = async () => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    for (const { type, id } of processInfo) if (type === 'renderer') pids.add(id);
  };
  await findProcesses();
  sample();
  const timer = setInterval(sample, 20);
  // A navigation may start a process.
  page.once('framenavigated', findProcesses);
  page.once('close', () => clearInterval(timer));

  return {
    async found() {
      sample();
      const { origin, tasks } = await page.evaluate(() => ({ origin: performance.timeOrigin, tasks: window.longTasks }));
      return tasks
        .map(({ startTime, duration }) => {
          const begin = origin + startTime;
          const before = samples.findLastIndex(({ at }) => at <= begin);
          const after = samples.findIndex(({ at }) => at >= begin + duration);
          return { startTime, duration, own: busiest(samples.slice(before, after < 0 ? samples.length : after + 1)) };
        })
        .filter(({ own }) => own > limit);
    },
  };
}
