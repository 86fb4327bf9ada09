/**
 * The browsers that have what the package needs: WebGPU in workers with `GPUAdapter.info` (Chrome 127, Firefox 141, Safari 26).
 * The one place where their versions stand; messages and the page read them here.
 */

/** A browser with the oldest version that serves, and on which systems it has WebGPU. */
export interface Browser {
  /** Its name, or the names of those that share its engine. */
  name: string;
  /** The oldest version that serves. */
  version: number;
  /** The systems on which it has WebGPU. */
  systems: string;
}

/** The browsers that have what the package needs. */
export const browsers: readonly Browser[] = [
  { name: 'Chrome and Edge', version: 127, systems: 'Windows, macOS, ChromeOS and Android 12; newer ones on Linux, by GPU' },
  { name: 'Safari', version: 26, systems: 'macOS, iPhone, iPad and Vision Pro' },
  { name: 'Firefox', version: 141, systems: 'Windows; 147 on Macs with Apple silicon' },
];
