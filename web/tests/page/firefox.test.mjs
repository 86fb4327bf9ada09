/** The page in the other engine: it makes images, compares them, shows how they formed, follows the settings live, draws and walks. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { dropWhite, fill, pixels, slide, start, status } from './harness.mjs';

/** Runs in the page: presses a button that saves a file, and gives the first bytes of that. */
async function saved(button) {
  const { createObjectURL } = URL;
  const { click } = HTMLAnchorElement.prototype;
  HTMLAnchorElement.prototype.click = () => undefined;
  try {
    const file = await new Promise((resolve) => {
      URL.createObjectURL = (blob) => {
        resolve(blob);
        return createObjectURL.call(URL, blob);
      };
      document.querySelector(button).click();
    });
    return [...new Uint8Array(await file.slice(0, 4).arrayBuffer())];
  } finally {
    URL.createObjectURL = createObjectURL;
    HTMLAnchorElement.prototype.click = click;
  }
}

describe('the page in Firefox', () => {
  let [site, page] = [];
  before(async () => {
    site = await start();
    page = await site.openFirefox({ hash: '#model=fashion&label=9&count=1&steps=4&guidance=2&seed=5' });
  });
  after(() => site?.close());

  test('generates, and compares by guidance and steps', async () => {
    await status(page, 'Ready');
    await page.click('#generate');
    await status(page, 'Done');
    const first = await pixels(page);
    for (const [button, count, same] of [['#compare-guidance', 5, 2], ['#compare-steps', 4, 0]]) {
      await page.click(button);
      await page.waitForFunction((n) => document.querySelectorAll('#current button.frame:enabled').length === n, count);
      await status(page, 'Done');
      assert.equal(await pixels(page, same), first, `${button}: the image with the same settings is the same`);
    }
  });

  test('shows how an image formed', async () => {
    await page.evaluate(() => document.querySelectorAll('#current button.frame')[3].click());
    await slide(page, 'scrub', 0);
    assert.match(await page.textContent('#scrub-state'), /^After step 1 of 25, noise level 99/);
    await page.evaluate(() => document.querySelector('#viewer').close());
  });

  test('follows the settings live, and keeps none of that', async () => {
    const sheets = () => page.evaluate(() => document.querySelectorAll('#sheets article').length);
    await fill(page, { steps: 2 });
    await page.click('#live-mode');
    await status(page, 'Live');
    const before = [await sheets(), await pixels(page)];
    await slide(page, 'guidance', 4, 6, 8);
    await page.waitForFunction(() => document.querySelector('#current .edge').textContent.includes('guidance 8'));
    await status(page, 'Live');
    assert.equal(await sheets(), before[0]);
    assert.notEqual(await pixels(page), before[1]);
  });

  test('turns a drawing into a picture, and mends what is marked', async () => {
    await page.evaluate(() => {
      document.querySelector('#live-mode').checked = false;
      document.querySelector('#draw-toggle').click();
    });
    await fill(page, { steps: 4 });
    const made = async (wanted) => {
      await page.evaluate(() => document.querySelector('#draw-make').click());
      // Not at each frame of the screen: a busy software driver shows none.
      await page.waitForFunction((text) => document.querySelector('#current .edge').textContent.includes(text), wanted, { polling: 100 });
      await page.waitForSelector('#current button.frame:enabled');
      await status(page, 'Done');
      return (await pixels(page)).split(',').map(Number);
    };
    const draw = (...keys) =>
      page.evaluate((all) => {
        for (const key of all) document.querySelector('#board').dispatchEvent(new KeyboardEvent('keydown', { key, shiftKey: key !== ' ', bubbles: true }));
      }, keys);
    await draw(' ', 'ArrowLeft', 'ArrowLeft', 'ArrowUp', 'ArrowUp', 'ArrowUp');
    await made('drawn, strength 0.7');
    await page.evaluate(() => document.querySelector('[name=brush][value=mask]').click());
    await draw(' ');
    const mended = await made('mended');
    assert.deepEqual(mended.slice(-4 * 32 * 4), Array.from({ length: 4 * 32 }, () => [0, 0, 0, 255]).flat(), 'what is not marked stays black');
    await dropWhite(page);
    await page.evaluate(() => document.querySelector('#draw-close').click());
  });

  test('walks from seed to seed until it is stopped, and keeps the walk', async () => {
    await fill(page, { steps: 2 });
    await page.click('#morph');
    const walked = () => Number(/^(\d+) images so far/.exec(document.querySelector('#detail').textContent)?.[1]) >= 9;
    await page.waitForFunction(walked);
    const press = () => page.evaluate(() => document.querySelector('#morph').click());
    const said = () => page.textContent('#detail');
    await press();
    assert.equal(await page.textContent('#morph'), 'Continue');
    await page.waitForTimeout(300); // what was being shown
    const held = await said();
    await page.waitForTimeout(2000);
    assert.equal(await said(), held, 'a walk that is held up shows nothing more');
    await press();
    await page.waitForFunction((before) => document.querySelector('#detail').textContent !== before, held);
    // Not page.click, which waits for two frames of the screen: a software driver that is busy shows none.
    await page.evaluate(() => document.querySelector('#cancel').click());
    await status(page, 'The walk has ended');
    await page.evaluate(() => document.querySelector('#current button.frame').click());
    const frames = await page.evaluate(() => Number(document.querySelector('#scrub').max));
    assert.ok(frames >= 9, `${frames} images of the walk`);
    const shown = await page.evaluate(() => document.querySelector('#viewer-canvas').toDataURL());
    await slide(page, 'scrub', 0);
    assert.equal(await page.textContent('#scrub-state'), 'Image 1 of the walk');
    // Its trail is read meanwhile.
    await page.waitForFunction((last) => document.querySelector('#viewer-canvas').toDataURL() !== last, shown);
    const PNG = [0x89, 0x50, 0x4e, 0x47];
    for (const [button, begins] of [['#viewer-strip', PNG], ['#viewer-animation', PNG], ['#viewer-clip', [0x1a, 0x45, 0xdf, 0xa3]]]) {
      assert.deepEqual(await page.evaluate(saved, button), begins, button);
    }
  });

  test('makes images in two stages', async () => {
    await page.evaluate(() => document.querySelector('#viewer').close());
    await page.evaluate(() => document.querySelector('[value=stack]').click());
    await page.waitForFunction(() => document.querySelector('#stage-title').textContent !== 'The walk has ended');
    await status(page, 'Ready');
    await page.click('#generate');
    await page.waitForFunction(() => document.querySelectorAll('#current button.frame:enabled').length === 1);
    await status(page, 'Done');
    const side = await page.evaluate(() => document.querySelector('#current canvas').width);
    assert.equal(side, 64, 'the upsampler made it');
  });
});
