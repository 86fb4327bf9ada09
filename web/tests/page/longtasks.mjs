/**
 * Long tasks of a page's main thread, by the processor time that the thread had in them.
 *
 * The browser counts a task's time on the clock, and software drivers keep every processor busy: a task that computes
 * for a millisecond may take a hundred, waiting for a processor or for another process that does. Linux reports how long
 * each thread ran.
 */
import { readFileSync } from 'node:fs';

/** Milliseconds that the main threads of these processes have run. */
function ran(pids) {
  let sum = 0;
  for (const pid of pids) {
    try {
      sum += Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    } catch {
      // The process is gone.
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
  const sample = () => samples.push({ at: performance.timeOrigin + performance.now(), ran: ran(pids) });
  // Only the page's has anything to do; browsers do not say which one it is.
  const findProcesses = async () => {
    const { processInfo } = await session.send('SystemInfo.getProcessInfo');
    for (const { type, id } of processInfo) if (type === 'renderer') pids.add(id);
  };
  await findProcesses();
  sample();
  const timer = setInterval(sample, 20);
  // A navigation may start a process, which had not run when the samples before were taken.
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
          return { startTime, duration, own: Math.min(duration, after.ran - before.ran) };
        })
        .filter(({ own }) => own > limit);
    },
  };
}
