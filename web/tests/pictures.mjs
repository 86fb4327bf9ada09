/**
 * Takes the pictures of the page in docs/images and its link preview, after `make web-build`: node web/tests/pictures.mjs. What is
 * of the machine that takes them, its driver's name and its times, is left out.
 */
import { folder } from './lib/folder.mjs';
import { start, status } from './page/harness.mjs';

const site = await start();
try {
  const { page } = await site.open({ hash: '#count=10&steps=16&guidance=2&seed=7' });
  await status(page, 'Ready');
  await page.click('#generate');
  await page.waitForFunction(() => /^Step 12 /.test(document.querySelector('#stage-title').textContent), null, { timeout: 600_000 });
  // The page goes on meanwhile; the pictures are of this moment.
  await page.evaluate(() => {
    const copy = document.querySelector('main').cloneNode(true);
    const canvases = document.querySelectorAll('main canvas');
    copy.querySelectorAll('canvas').forEach((canvas, at) => canvas.getContext('2d').drawImage(canvases[at], 0, 0));
    for (const id of ['detail', 'model-state']) copy.querySelector(`#${id}`).style.visibility = 'hidden';
    document.querySelector('main').replaceWith(copy);
  });
  const shoot = async (path, width, height, colorScheme) => {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    await page.screenshot({ path: folder(path) });
  };
  await shoot('docs/images/page-desktop-light.png', 1280, 860, 'light');
  await shoot('docs/images/page-desktop-dark.png', 1280, 860, 'dark');
  await shoot('docs/images/page-phone-light.png', 390, 844, 'light');
  await shoot('docs/images/page-phone-dark.png', 390, 844, 'dark');
  await shoot('web/page/static/preview.png', 1200, 630, 'dark');
} finally {
  await site.close();
}
