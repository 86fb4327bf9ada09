/** Where the page lays things out, on a phone and in low windows: nothing moves, and nothing is hidden. In Chromium, with a package that computes nothing. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { violations } from './axe.mjs';
import { HASH, onFakePage } from './fake.mjs';

describe('where things are', () => {
  const onPage = onFakePage();

  onPage('on a phone, what “Live” makes stays in sight above the settings', async ({ page, ready, title }) => {
    await page.setViewportSize({ width: 390, height: 844 });
    await ready(HASH.replace('count=3', 'count=12'));
    await page.click('#live-mode');
    await title('Live');
    await page.evaluate(() => document.querySelector('#guidance').scrollIntoView({ block: 'end' }));
    await page.fill('#guidance', '4');
    await page.waitForFunction(() => document.querySelector('#current .edge').textContent.includes('guidance 4'));
    const box = (selector) => page.evaluate((one) => document.querySelector(one).getBoundingClientRect().toJSON(), selector);
    const [images, field] = [await box('#current'), await box('#guidance')];
    assert.ok(images.top >= 0 && images.bottom < field.top, `images from ${images.top} to ${images.bottom}, the field at ${field.top}`);
    assert.deepEqual(await violations(page), []);
  });

  onPage('in a low window a run brings its images into sight, below what goes on, and its end moves nothing', async ({ page, ready, hold, waiting, release, title }) => {
    await page.setViewportSize({ width: 1280, height: 640 });
    await ready();
    const top = () => page.evaluate(() => Math.round(scrollY));
    /** As a pointer does it: a test's own click would scroll. */
    const press = (selector) => page.evaluate((one) => (document.querySelector(one).focus({ preventScroll: true }), document.querySelector(one).click()), selector);
    await page.click('#draw-toggle');
    await page.focus('#board');
    await page.keyboard.press(' ');
    await page.evaluate(() => scrollTo(0, 60));
    for (const [button, cancel] of [['#draw-make', false], ['#generate', true], ['#draw-make', true]]) {
      await hold('image');
      await press(button);
      await waiting('image');
      const during = await top();
      await page.waitForTimeout(700); // a smooth scroll
      const settled = await top();
      const { y } = await page.locator('#current').boundingBox();
      assert.ok(y >= 0 && y < 340, `${button}: the images begin at ${y}, after ${during} and ${settled}`);
      const [status, images] = [await page.locator('.status').boundingBox(), await page.locator('#current').boundingBox()];
      assert.ok(status.y >= 0 && status.y + status.height <= images.y + 1, 'what goes on stands above them');
      if (cancel) await press('#cancel');
      else await release('image');
      await title(cancel ? 'Cancelled' : 'Done');
      assert.equal(await top(), settled, button);
    }
  });

  onPage('in a window of 1280 x 800 no setting lies under Generate, nor does the focus, with everything open', async ({ page, ready, pick, title }) => {
    await page.setViewportSize({ width: 1280, height: 800 });
    await ready();
    /** Where things end, and where Generate's bar begins. */
    const edges = (selector) =>
      page.evaluate((one) => [one, '.panel .action'].map((s) => document.querySelector(s).getBoundingClientRect()).map(({ top, bottom }) => [top, bottom]), selector);
    const clear = async () => {
      for (const selector of ['#guidance', '#more']) {
        const [[, bottom], [top, end]] = await edges(selector);
        assert.ok(bottom <= top && end <= 800, `${selector} ends at ${bottom}, the bar is from ${top} to ${end}`);
      }
    };
    await clear();
    await pick('emoji');
    await page.waitForFunction(() => fake.loads.length === 2);
    await title('Ready');
    await clear();
    await pick('fashion');
    await title('Ready');
    await page.click('#more summary');
    assert.match(await page.textContent('#sampler-hint'), /^The sampler is the rule.*DDIM: Along the predicted noise.*Eta is how much new noise/);
    for (const selector of ['#eta', '#first']) {
      await page.keyboard.press('Tab');
      if (selector === '#eta') await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement.id), selector.slice(1));
      const [[, bottom], [top]] = await edges(selector);
      assert.ok(bottom <= top, `${selector} ends at ${bottom}, the bar begins at ${top}`);
    }
    const before = await page.evaluate(() => scrollY);
    for (const id of ['live-mode', 'generate']) {
      await page.keyboard.press('Tab');
      assert.deepEqual(await page.evaluate(() => [document.activeElement.id, scrollY]), [id, before], 'what is within sight is not scrolled to');
    }
  });
});
