/** What the page does when things overlap: loads and runs that end late, fail, or are stopped by others. In Chromium, with a package that computes nothing. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { EMOJI, FASHION, HASH, onFakePage } from './fake.mjs';

describe('what overlaps', () => {
  const onPage = onFakePage();

  onPage('the run under way is not ended by a look into an earlier image; Cancel says that it stopped', async ({ page, ready, title, hold, release, waiting, generate, ask, edge }) => {
    await ready();
    assert.match(await page.textContent('#detail'), /this link’s picture/);
    assert.match(await edge(), /^The link’s picture: All classes, 10 DDIM steps/);
    for (const steps of ['9', '10']) {
      await page.fill('#steps', steps);
      await page.press('#steps', 'Tab');
      assert.match(await edge(), /^To be made \(clothes and shoes\)/);
    }
    await generate();
    await hold('image');
    await page.click('#generate');
    await waiting('image');
    await page.click('#sheets button.frame');
    await page.evaluate(() => (document.querySelector('#how').open = true));
    assert.ok(await page.isDisabled('#how-show'));
    assert.match(await page.textContent('#how-said'), /at work/);
    await release('image');
    await title('Done');
    assert.ok(await page.isEnabled('#how-show'), 'then it can be asked for');
    assert.equal((await ask((f) => f.made)).length, 6);
    await page.click('#viewer [data-close]');
  });

  onPage('another model in the middle of a run leaves no half-formed image', async ({ page, title, generating, nextImage, pick, edge, forming }) => {
    await generating();
    // The first image is done, the second one is forming.
    await nextImage();
    await pick('emoji');
    await title('Ready');
    assert.equal(await forming(), 0);
    assert.match(await edge(), /Stopped: 1 of 3 finished/);
    assert.equal(await page.locator('#current .unfinished:visible').count(), 1, 'what was begun stays, marked as unfinished');
    assert.equal(await page.locator('#current li:visible').count(), 2, 'what was not begun does not');
  });

  onPage('a device that is lost leaves none either, and its model is loaded again', async ({ page, title, release, generating, ask, edge, forming }) => {
    await generating();
    await page.evaluate(() => fake.lose());
    await page.waitForSelector('#notice h3');
    assert.equal(await forming(), 0);
    assert.match(await edge(), /Stopped: 0 of 3/);
    await release('image');
    await page.click('#notice button');
    await title('Ready');
    assert.deepEqual(await ask((f) => f.loads), [FASHION, FASHION]);
  });

  onPage('a cancelled run leaves what was begun in the picker; a cancelled load does not', async ({ page, ready, title, hold, waiting, pick, picked }) => {
    await ready();
    await pick('file');
    await hold('image', EMOJI);
    await page.click('#generate');
    await waiting('image');
    await page.click('#cancel');
    await title('Cancelled');
    assert.equal(await picked(), 'file');
    await pick('emoji');
    await waiting(EMOJI);
    await page.click('#cancel');
    await title('Cancelled');
    assert.equal(await picked(), 'fashion');
  });

  onPage('“Use these settings” while another model is on its way brings back their own', async ({ page, ready, title, hold, release, waiting, generate, pick, ask, picked, values }) => {
    await ready();
    await generate();
    await hold(EMOJI);
    await pick('emoji');
    await waiting(EMOJI);
    await page.getByRole('button', { name: 'Use these settings' }).first().click();
    await title('Ready');
    assert.equal(await picked(), 'fashion', 'the picker follows');
    assert.deepEqual(await values('guidance', 'steps'), ['3', '10']);
    assert.deepEqual(await ask((f) => f.loads), [FASHION, EMOJI], 'what is in use is not loaded again');
    await release(EMOJI);
    await pick('emoji');
    await title('Ready');
    assert.equal((await ask((f) => f.loads)).length, 3, 'and pressing the other one loads it');
  });

  onPage('a link to the model in use, pasted while another one is on its way, stops that', async ({ page, ready, title, hold, release, waiting, generate, pick, paste, picked, values }) => {
    await ready();
    await hold(EMOJI);
    await pick('emoji');
    await waiting(EMOJI);
    await paste('#model=fashion&count=1&steps=7&seed=1');
    await title('Ready');
    assert.deepEqual([await picked(), ...(await values('steps'))], ['fashion', '7']);
    await release(EMOJI);
    await generate();
    assert.match(await page.evaluate(() => location.hash), /model=fashion/);
  });

  onPage('a load that ends although it was stopped changes nothing', async ({ page, ready, title, release, waiting, pick, picked }) => {
    await ready('#model=emoji&count=3');
    await page.evaluate(() => {
      // As a worker whose answer is on its way already.
      AbortSignal.prototype.throwIfAborted = () => undefined;
      fake.hold.add('emoji32-to-64.safetensors').add('fashion32.safetensors');
      AbortSignal.prototype.addEventListener = () => undefined;
    });
    await pick('stack');
    await waiting('emoji32-to-64.safetensors');
    await pick('fashion');
    await release('emoji32-to-64.safetensors');
    await waiting(FASHION);
    assert.ok(await page.isVisible('#cancel'), 'the newer load is still under way');
    await release(FASHION);
    await title('Ready');
    assert.ok(await page.isHidden('#notice'));
    assert.equal(await picked(), 'fashion');
  });

  onPage('settings that are used again leave a link’s offer; “smaller” loads what failed', async ({ page, ready, title, generate, paste, ask, picked, values }) => {
    await ready();
    await generate();
    const link = '#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&sampler=heun&steps=30&seed=2';
    await paste(link);
    await title('Another model');
    await page.click('#generate');
    assert.deepEqual(await page.evaluate(() => [document.activeElement.id, location.hash]), ['load', link], 'it waits for its button, as it was pasted');
    await page.getByRole('button', { name: 'Use these settings' }).first().click();
    assert.deepEqual([await picked(), ...(await values('sampler', 'steps'))], ['fashion', 'ddim', '10']);
    await generate();
    await page.evaluate((name) => (fake.fail[name] = 'too-large'), EMOJI);
    await page.click('[value=emoji]', { force: true });
    await page.waitForSelector('#notice h3');
    assert.equal(await page.textContent('#stage-title'), 'Not loaded');
    await page.evaluate(() => (document.querySelector('[value=url]').checked = true));
    await page.getByRole('button', { name: 'One image at a time' }).click();
    await title('Ready');
    assert.deepEqual([await picked(), await page.inputValue('#batch'), (await ask((f) => f.loads)).at(-1)], ['emoji', '1', EMOJI]);
  });

  onPage('a link’s settings are for its own model only', async ({ page, open, title, pick, paste, values }) => {
    await open('#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&sampler=heun&steps=30&count=1&seed=2&label=3&first=8');
    await title('Another model');
    await pick('emoji');
    await title('Ready');
    assert.deepEqual(await values('sampler', 'steps'), ['ddim', '4'], 'what emoji are good with');
    assert.deepEqual(await values('class', 'first'), ['All classes', '0'], 'its class is another one there');
    await paste('#model=https%3A%2F%2Fexample.org%2Fedm.safetensors&sampler=euler&steps=30&seed=3');
    await title('Another model');
    await page.click('#load');
    await title('Ready');
    assert.deepEqual(await values('sampler', 'steps'), ['euler', '30'], 'but for it they are');
  });

  onPage('what was cancelled does not begin by itself when the network is back; what failed does', async ({ page, ready, title, hold, release, waiting, ask }) => {
    await ready();
    await page.evaluate(() => fake.lose());
    await page.waitForSelector('#notice h3');
    await hold(FASHION);
    await page.click('#notice button');
    await waiting(FASHION);
    await page.click('#cancel');
    await title('Cancelled');
    const before = (await ask((f) => f.loads)).length;
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await release(FASHION);
    assert.equal((await ask((f) => f.loads)).length, before);
    await page.evaluate((name) => (fake.fail[name] = 'network'), FASHION);
    await page.click('#generate');
    await page.waitForSelector('#notice h3');
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await title('Ready');
  });

  onPage('the opening of a GPU need not be waited for', async ({ page, open, title, release, waiting, generate }) => {
    await open(HASH, { hold: ['engine'] });
    await waiting('engine');
    await page.click('#cancel');
    await title('Cancelled');
    await release('engine');
    await generate();
  });

  onPage('of a stack that is stopped in its second stage, the small images stay', async ({ page, ready, title, hold, waiting, edge }) => {
    await ready(HASH.replace('fashion', 'stack'));
    assert.match(await page.textContent('#morph + p'), /^Not with two stages/);
    await hold('large');
    await page.click('#generate');
    await waiting('large');
    await page.click('#cancel');
    await title('Cancelled');
    assert.equal(await page.locator('#current button.frame:enabled').count(), 3);
    assert.match(await edge(), /Stopped: 0 of 3 enlarged/);
    await page.reload();
    await page.waitForSelector('#current button.frame:enabled');
    assert.match(await edge(), /Stopped: 0 of 3 enlarged/, 'a reload keeps that');
  });

  onPage('after a full memory in a run, “Try again” makes what is left', async ({ page, title, release, generating, nextImage, ask }) => {
    await generating();
    await nextImage();
    await page.evaluate(() => (fake.fail.image = 'out-of-memory'));
    await release('image');
    await page.waitForSelector('#notice h3');
    await page.getByRole('button', { name: 'Try again' }).click();
    assert.notEqual(await page.evaluate(() => document.activeElement.tagName), 'BODY', 'the focus is not lost');
    await title('Done');
    assert.deepEqual((await ask((f) => f.made)).map(({ index, label }) => [index, label]), [[0, 0], [1, 1], [2, 2]]);
    assert.match(await page.textContent('#detail'), /^2 images/);
  });

  onPage('“Try again” of a stack makes what was not enlarged', async ({ page, ready, title, hold, waiting, release }) => {
    await ready(HASH.replace('fashion', 'stack'));
    await hold('large');
    await page.click('#generate');
    await waiting('large');
    await page.evaluate(() => fake.waiting.splice(0).forEach(({ resolve }) => resolve()));
    await waiting('large');
    await page.evaluate(() => (fake.fail.large = 'out-of-memory'));
    await release('large');
    await page.waitForSelector('#notice h3');
    await page.getByRole('button', { name: 'Try again' }).click();
    await title('Done');
    assert.match(await page.textContent('#detail'), /^2 images/);
  });

  onPage('where “Live” is switched off in a run, the page does not stay “Live”', async ({ page, ready, title, hold, waiting, release }) => {
    await ready();
    await hold('image');
    await page.click('#live-mode');
    await waiting('image');
    await page.click('#live-mode');
    await release('image');
    await title('Ready');
  });

  onPage('what waits for its turn can be given up', async ({ page, ready, title, generate }) => {
    await ready();
    // In one task, so that nothing has begun by then.
    await page.evaluate(() => ['#generate', '#cancel'].forEach((button) => document.querySelector(button).click()));
    await title('Cancelled');
    await generate();
    await page.click('#current button.frame');
    await page.evaluate(() => {
      document.querySelector('#how-show').click();
      document.querySelector('#viewer').dispatchEvent(new Event('close'));
    });
    await title('Cancelled');
    await page.click('#viewer [data-close]');
    await generate();
  });
});
