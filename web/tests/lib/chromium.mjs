/**
 * Headless Chromium with WebGPU on SwiftShader, its own software GPU driver: what a browser with Tint does with our
 * shaders, the same on every machine whatever its GPU is.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { folder } from './folder.mjs';

/** The binaries of distributions; `CHROMIUM` names another. No browser is ever downloaded. */
const PATHS = process.env.CHROMIUM ? [process.env.CHROMIUM] : ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where it is, or undefined. */
export const CHROMIUM = PATHS.find((path) => existsSync(path));

/** The driver inside, for native programs that are to compute on the same one. */
export const SWIFTSHADER = {
  adapter: 'SwiftShader',
  manifest: () => execFileSync(folder('scripts/swiftshader.sh'), { encoding: 'utf8' }).trim(),
};

export const FLAGS = [
  '--enable-unsafe-webgpu', // software adapters count as unsafe
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--disable-quic',
  '--disable-background-networking',
];

/**
 * Starts it; `args` adds flags.
 *
 * @returns Playwright's Browser. A page that is to use WebGPU needs a secure origin: http://127.0.0.1 is one.
 */
export async function launchChromium({ args = [] } = {}) {
  if (!CHROMIUM) throw new Error('Chromium is missing: `scripts/setup.sh chromium` installs it');
  return chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...args] });
}
