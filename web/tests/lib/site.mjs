/** A page for tests of the package: a server, a browser, and all that is written to the console. */
import { folder } from './folder.mjs';
import { serve } from '../../server.mjs';

/** Opens it; `mounts` are served beside an empty page and the package, `launch` starts the browser. */
export async function openSite(launch, mounts) {
  const server = await serve({
    '/': folder('web/conformance/page'),
    '/guided-diffusion/': folder('web/package/dist'),
    '/workers/': folder('web/tests/workers'),
    ...mounts,
  });
  // A server that nobody closes would keep the test run alive.
  const browser = await launch().catch(async (error) => {
    await server.close();
    throw error;
  });
  const page = await browser.newPage();
  const messages = [];
  page.on('console', (message) => messages.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => messages.push(`uncaught: ${error.message}`));
  await page.goto(`${server.url}/`);
  const close = async () => {
    await browser.close();
    await server.close();
  };
  return { server, page, messages, close };
}
