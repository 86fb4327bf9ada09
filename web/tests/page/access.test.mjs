/** Each state of the page against axe's rules: light on a desktop, dark on a phone. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { violations } from './axe.mjs';
import { generate, noticed, start, status } from './harness.mjs';

const LOOKS = [
  { colorScheme: 'light', width: 1280, height: 860 },
  { colorScheme: 'dark', width: 360, height: 740 },
];

/** States that one page is led through, each from the one before. */
const STATES = {
  loading: () => {},
  ready: (page) => status(page, 'Ready'),
  'class list': (page) => page.click('#class'),
  'advanced fields': async (page) => {
    await page.keyboard.press('Escape');
    await page.click('#more summary');
    await page.click('#model-more summary');
  },
  drawing: (page) => page.click('#draw-toggle'),
  'what a step works with': async (page) => {
    await page.click('#draw-close');
    await generate(page);
    await page.click('#current button.frame');
    await page.click('#how summary');
    await page.click('#how-show');
    await page.waitForFunction(() => document.querySelector('#how-said').textContent.startsWith('Step 2 of'));
  },
  'two stages': async (page) => {
    await page.click('#viewer [data-close]');
    await page.check('[value=stack]');
    await status(page, 'Ready');
  },
  'model from a URL': (page) => page.check('[value=url]'),
  'model from a file': (page) => page.check('[value=file]'),
  'stored models': async (page) => {
    await page.click('#stored-open');
    await page.waitForSelector('#stored-list button');
  },
  generating: async (page) => {
    await page.click('#stored [data-close]');
    await page.fill('#steps', '900');
    await page.click('#generate');
    await status(page, 'Step');
  },
  cancelled: async (page) => {
    await page.click('#cancel');
    await status(page, 'Cancelled');
  },
  done: async (page) => {
    await page.fill('#steps', '2');
    await generate(page);
  },
  'earlier runs': (page) => generate(page),
  'image opened': (page) => page.click('#current button.frame'),
  'how it formed': async (page) => {
    await page.focus('#scrub');
    await page.keyboard.press('Home');
  },
  'file refused': async (page) => {
    await page.click('#viewer [data-close]');
    await page.setInputFiles('#model-file', { name: 'bad.safetensors', mimeType: '', buffer: Buffer.from('bad') });
    await page.click('#load');
    await noticed(page);
  },
};

async function look(page, name, size) {
  await page.setViewportSize(size);
  assert.deepEqual(await violations(page), [], name);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name}: ${wide} pixels too wide for ${size.width}`);
}

/** Looks at a state in every look. */
async function check(page, name) {
  for (const { colorScheme, ...size } of LOOKS) {
    await page.emulateMedia({ colorScheme });
    await look(page, `${name}, ${colorScheme}`, size);
  }
  await page.setViewportSize({ width: 1280, height: 860 });
}

describe('access', () => {
  let [site, page] = [];
  before(async () => {
    site = await start();
    ({ page } = await site.open({ hash: '#model=fashion&count=1&steps=2&seed=3' }));
  });
  after(() => site?.close());

  for (const [name, lead] of Object.entries(STATES)) {
    test(`axe finds nothing: ${name}`, async () => {
      await lead(page);
      await check(page, name);
    });
  }

  test('axe finds nothing: no WebGPU', async () => {
    for (const { colorScheme, ...size } of LOOKS) {
      const without = await site.openWithout({ colorScheme });
      await noticed(without);
      await without.waitForSelector('#recorded canvas');
      const dark = await without.evaluate(() => matchMedia('(prefers-color-scheme: dark)').matches);
      assert.equal(dark, colorScheme === 'dark');
      await look(without, `no WebGPU, ${colorScheme}`, size);
    }
  });

  test('the theme can be chosen, and is kept', async () => {
    const opened = await site.open({ colorScheme: 'light' });
    const ground = () => opened.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await opened.page.getByRole('button', { name: 'Auto theme, change' }).click();
    assert.equal(await ground(), light);
    await opened.page.getByRole('button', { name: 'Light theme, change' }).click();
    const dark = await ground();
    assert.notEqual(dark, light);
    await opened.page.reload();
    assert.equal(await ground(), dark);
    await opened.context.close();
  });
});
