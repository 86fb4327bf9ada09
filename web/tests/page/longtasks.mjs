/**
 * Long tasks of a page's main thread, less the time that the system let the thread wait for a processor.
 *
 * The browser counts a task's time on the clock, and software drivers keep every processor busy: a task that computes
 * for a millisecond may take a hundred. Linux reports how long each thread was ready but not running; what remains is the
 * page's own, be it computing or waiting for something.
 */
import { readFileSync } from 'node:fs';

/** Milliseconds that the main threads of these processes have waited for a processor. */
function waited(pids) {
  let sum = 0;
  for (const pid of pids) {
    try {
      sum += Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
    } catch {
      // The process is gone, or the system keeps no such account: then nothing is taken off.
    }
  }
  return sum;
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
  const sample = () => samples.push({ at: performance.timeOrigin + performance.now(), waited: waited(pids) });
  // Only the page's has anything to do; browsers do not say which one it is.
  const findProcesses = async () => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    for (const { type, id } of processInfo) if (type === 'renderer') pids.add(id);
  };
  await findProcesses();
  sample();
  const timer = setInterval(sample, 20);
  // A navigation may start a process, which had not waited at all when the samples before were taken.
  page.once('framenavigated', findProcesses);
  page.once('close', () => clearInterval(timer));

  return {
    async found() {
      sample();
      const { origin, tasks } = await page.evaluate(() => ({ origin: performance.timeOrigin, tasks: window.longTasks }));
      return tasks
        .map(({ startTime, duration }) => {
          const begin = origin + startTime;
          const before = samples.findLast(({ at }) => at <= begin);
          const after = samples.find(({ at }) => at >= begin + duration) ?? samples.at(-1);
          return { startTime, duration, own: duration - Math.max(0, after.waited - before.waited) };
        })
        .filter(({ own }) => own > limit);
    },
  };
}
