/** The browsers under test: two engines (Tint, naga), each on a software GPU driver of its own. */
import { launchChromium } from './chromium.mjs';
import { launchFirefox } from './firefox.mjs';

const BROWSERS = [
  { id: 'chromium', name: 'Chromium on SwiftShader', launch: launchChromium },
  { id: 'firefox', name: 'Firefox on lavapipe', launch: launchFirefox },
];

/** Milliseconds after which something hangs: compiling takes a software driver on a busy machine minutes. */
export const PATIENCE = 300_000;

/** All of them, or those whose `id` holds the `BROWSERS` of the environment. */
export function browsers() {
  const wanted = (process.env.BROWSERS ?? '').toLowerCase();
  const found = BROWSERS.filter(({ id }) => id.includes(wanted));
  if (found.length === 0) throw new Error(`BROWSERS=${wanted}: there are ${BROWSERS.map(({ id }) => id).join(', ')}`);
  return found;
}
