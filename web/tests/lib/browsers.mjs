/** The browsers under test: two engines (Tint, naga), each on a software GPU driver of its own. */
import { launchChromium, swiftShader } from './chromium.mjs';
import { launchFirefox, lavapipe } from './firefox.mjs';

const BROWSERS = [
  { name: 'Chromium on SwiftShader', adapter: 'SwiftShader', driver: swiftShader, launch: launchChromium },
  { name: 'Firefox on lavapipe', adapter: 'llvmpipe', driver: lavapipe, launch: launchFirefox },
];

/**
 * All of them, or those whose names hold the `BROWSERS` of the environment. `adapter` is the driver's name natively,
 * `driver()` its Vulkan manifest.
 */
export function browsers() {
  const wanted = (process.env.BROWSERS ?? '').toLowerCase();
  const found = BROWSERS.filter(({ name }) => name.toLowerCase().includes(wanted));
  if (found.length === 0) throw new Error(`BROWSERS=${wanted}: there are ${BROWSERS.map((b) => b.name).join(', ')}`);
  return found;
}
