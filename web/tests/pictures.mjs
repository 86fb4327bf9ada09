/**
 * Takes the pictures of the page in docs/images and its link preview, after `make web-build`: node web/tests/pictures.mjs. What is
 * of the machine that takes them, its driver's name and its times, is left out.
 */
import { writeFileSync } from 'node:fs';
import { folder } from './lib/folder.mjs';
import { generate, pixels, start, status } from './page/harness.mjs';
import { animated } from '../dist/png.js';

const STEPS = 8;
const IMAGES = 12;
/** Milliseconds that a step is shown, and the images at the end. */
const FRAME = 300;
const LAST = 3000;

const site = await start({ trained: true });
try {
  const { page } = await site.open({ hash: `#model=emoji&count=${IMAGES}&steps=${STEPS}&seed=1` });
  await status(page, 'Ready');
  // The examples form first: they change every 160 ms.
  await page.waitForSelector('#current > .examples');
  for (let before, now; (now = await pixels(page)) !== before; before = now) await page.waitForTimeout(500);
  // What is painted is written down, so that the run can be shown again at any size, a step at a time.
  await page.evaluate(() => {
    window.painted = [];
    const put = CanvasRenderingContext2D.prototype.putImageData;
    CanvasRenderingContext2D.prototype.putImageData = function (pixels, ...at) {
      if (this.canvas.width > 1 && pixels.width === this.canvas.width) window.painted.push(pixels);
      return put.call(this, pixels, ...at);
    };
  });
  await generate(page);
  await page.evaluate(() => {
    const copy = document.querySelector('main').cloneNode(true);
    for (const id of ['detail', 'model-state']) copy.querySelector(`#${id}`).style.visibility = 'hidden';
    copy.querySelector('#generate').hidden = true;
    copy.querySelector('#cancel').hidden = false;
    document.querySelector('main').replaceWith(copy);
    document.body.classList.add('working');
  });
  /** The page after so many steps; step 0 is noise, and the last one's previews are the images, which are painted in any order. */
  const show = (step) =>
    page.evaluate(
      ([at, images, all]) => {
        scrollTo(0, 0);
        const frames = window.painted.filter(({ width }) => width === 32).slice(at * images, (at + 1) * images);
        document.querySelectorAll('#current canvas').forEach((canvas, k) => {
          canvas.getContext('2d').putImageData(frames[k], 0, 0);
          canvas.closest('button').classList.toggle('empty', at === 0);
        });
        document.querySelector('#stage-title').textContent = `Step ${at} of ${all}`;
        document.querySelector('#progress').value = at / all;
      },
      [step, IMAGES, STEPS],
    );
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 1120, height: 640 });
    const frames = [];
    // The images come first: a viewer that plays nothing shows that frame.
    for (const step of [STEPS, ...Array(STEPS).keys()]) {
      await show(step);
      frames.push(new Blob([await page.screenshot()]));
    }
    const times = frames.map((_, k) => (k === 0 ? LAST : FRAME));
    const file = Buffer.from(await (await animated(frames, times)).arrayBuffer());
    writeFileSync(folder(`docs/images/page-${colorScheme}.png`), file);
    console.log(`page-${colorScheme}.png: ${frames.length} frames, ${file.length} bytes`);
    await show(6);
    await page.setViewportSize({ width: 390, height: 844 });
    await page.screenshot({ path: folder(`docs/images/page-phone-${colorScheme}.png`) });
  }
  await page.setViewportSize({ width: 1200, height: 630 });
  await page.screenshot({ path: folder('web/page/static/preview.png') });
} finally {
  await site.close();
}
