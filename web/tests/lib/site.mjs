/** A page for tests of the package: a server, a browser, and all that is written to the console. */
import { PATIENCE } from './browsers.mjs';
import { serveFaulty } from './faulty.mjs';
import { folder } from './folder.mjs';
import { serve } from '../../server.mjs';

/**
 * Opens it; `mounts` are served beside an empty page and the package, `launch` starts the browser. `broken`: a folder that a
 * server with faults, which is then `faulty`, has.
 */
export async function openSite(launch, mounts, broken = null) {
  const server = await serve({
    '/': folder('web/conformance/page'),
    '/guided-diffusion/': folder('web/package/dist'),
    '/workers/': folder('web/tests/workers'),
    ...mounts,
  });
  const faulty = broken && (await serveFaulty(broken));
  const closeServers = async () => {
    await server.close();
    await faulty?.close();
  };
  // A server that nobody closes would keep the test run alive.
  const browser = await launch().catch(async (error) => {
    await closeServers();
    throw error;
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  const messages = [];
  page.on('console', (message) => messages.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => messages.push(`uncaught: ${error.message}`));
  await page.goto(`${server.url}/`);
  const close = async () => {
    await browser.close();
    await closeServers();
  };
  return { server, faulty, page, messages, close };
}
