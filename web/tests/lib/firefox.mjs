/**
 * Headless Firefox with WebGPU on lavapipe, Mesa's software Vulkan driver: a second engine (naga) and a second driver.
 *
 * It is driven by WebDriver BiDi, which distributions' own Firefox speaks. Playwright's BiDi mode is young; what the
 * tests need of it (pages, evaluate, console, exposed functions) works.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { firefox } from 'playwright-core';
import { folder } from './folder.mjs';

/** The binaries of distributions; `FIREFOX` names another. No browser is ever downloaded. */
const PATHS = process.env.FIREFOX ? [process.env.FIREFOX] : ['/usr/bin/firefox-esr', '/usr/bin/firefox'];

const PREFERENCES = {
  'dom.webgpu.enabled': true,
  'gfx.webgpu.ignore-blocklist': true, // software adapters are on the list
  'gfx.webgpu.force-enabled': true,
};

/** The driver, by its manifest, so that no real GPU is taken instead. */
export const LAVAPIPE = {
  adapter: 'llvmpipe',
  manifest: () => execFileSync(folder('scripts/lavapipe.sh'), { encoding: 'utf8' }).trim(),
};

/**
 * Starts it; `preferences` are added to those above, or replace them. Unless `optimise`, the driver compiles kernels without LLVM's
 * optimisations, which pays where each runs a few times. @returns Playwright's Browser.
 */
export async function launchFirefox({ preferences = {}, optimise = true } = {}) {
  const executablePath = PATHS.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error('Firefox is missing: `scripts/setup.sh firefox` installs it');
  const driver = LAVAPIPE.manifest();
  // Vulkan's loader wants a runtime folder, which a bare machine lacks.
  const runtime = mkdtempSync(join(tmpdir(), 'firefox-runtime-'));
  const browser = await firefox.launch({
    executablePath,
    channel: 'moz-firefox',
    firefoxUserPrefs: { ...PREFERENCES, ...preferences },
    env: {
      ...process.env,
      ...(optimise ? {} : { GALLIVM_PERF: 'nopt' }),
      XDG_RUNTIME_DIR: runtime,
      VK_DRIVER_FILES: driver,
      VK_ICD_FILENAMES: driver,
    },
  });
  browser.on('disconnected', () => rmSync(runtime, { recursive: true, force: true }));
  return browser;
}
