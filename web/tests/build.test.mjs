/** What a build gives: how much of it a visitor downloads, its address, its pictures, and the browsers that know all that it uses. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { browsers } from 'guided-diffusion';
import { folder } from './lib/folder.mjs';
import { mdn, used } from './lib/used.mjs';
import { reference } from '../reference.mjs';

const DIST = folder('web/dist');
const html = readFileSync(join(DIST, 'index.html'), 'utf8');

/** Bytes of files as a host sends them, each compressed by itself. */
const sent = (files) => files.reduce((sum, file) => sum + gzipSync(readFileSync(join(DIST, file)), { level: 9 }).length, 0);
const scripts = (place) => readdirSync(join(DIST, place)).filter((file) => file.endsWith('.js')).map((file) => join(place, file));

test('the page is small: its code at most 60 KB, as all code that its thread runs; the wasm at most 500 KB', () => {
  const preloaded = [...html.matchAll(/<link rel="modulepreload" href="([^"]+)">/g)].map(([, file]) => file);
  assert.ok(preloaded.length > 20, `${preloaded.length} modules`);
  const own = sent(['index.html', 'style.css', ...scripts('.')]);
  const thread = sent(['theme.js', 'main.js', ...preloaded]);
  const wasm = sent(['guided-diffusion/wasm/guided_diffusion_web_bg.wasm']);
  console.log(`page: ${own} bytes gzipped with its document and style; its thread's scripts ${thread}; wasm ${wasm}`);
  assert.ok(own <= 60_000, `the page's own files: ${own} bytes`);
  assert.ok(thread <= 60_000, `scripts of its thread: ${thread} bytes`);
  assert.ok(wasm <= 500_000, `wasm: ${wasm} bytes`);
});

test('the address that a build is given stands in the page’s head, whole', () => {
  const place = mkdtempSync(join(tmpdir(), 'address-'));
  const head = (url) => {
    const env = { ...process.env, PAGE_URL: url };
    execFileSync(process.execPath, [folder('web/address.mjs'), place], { env, stdio: 'pipe' });
    return readFileSync(join(place, 'index.html'), 'utf8');
  };
  try {
    cpSync(join(folder('web/page/static'), 'index.html'), join(place, 'index.html'));
    const before = head('');
    assert.match(before, /"og:image" content="preview\.png"/, 'without one it stays as it is');
    for (const url of ['https://example.org/some/page', 'https://example.org/some/page/']) {
      const after = head(url);
      assert.match(after, /<meta property="og:image" content="https:\/\/example\.org\/some\/page\/preview\.png">/);
      assert.equal(after.match(/"og:url" content="https:\/\/example\.org\/some\/page\/"/g).length, 1);
      assert.equal(after.match(/rel="canonical" href="https:\/\/example\.org\/some\/page\/"/g).length, 1);
    }
    assert.match(head('https://example.org/'), /content="https:\/\/example\.org\/preview\.png"/, 'a later one takes its place');
    for (const wrong of ['example.org', 'ftp://example.org/', 'https://example.org/?a=1']) assert.throws(() => head(wrong), /PAGE_URL=/, wrong);
  } finally {
    rmSync(place, { recursive: true });
  }
});

test('the pictures of link preview and manifest are there, of the sizes that are said', () => {
  const sizeOf = (file) => {
    const png = readFileSync(join(DIST, file));
    return `${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`;
  };
  assert.equal(sizeOf('preview.png'), '1200x630');
  const { icons } = JSON.parse(readFileSync(join(DIST, 'app.webmanifest'), 'utf8'));
  const sizes = icons.filter(({ type }) => type === 'image/png').map(({ src, sizes }) => [sizeOf(src), sizes]);
  assert.deepEqual(sizes, [['192x192', '192x192'], ['512x512', '512x512']]);
});

test('the page names what its models were trained on, and links the notices', () => {
  const [, foot] = /<footer[^>]*>(.*)<\/footer>/s.exec(html);
  const [, link] = /<a href="(models\/[^"]+)">/.exec(foot);
  const notices = readFileSync(join(DIST, link), 'utf8');
  for (const source of ['Noto Emoji', 'Fluent Emoji', 'Fashion-MNIST', 'Google', 'Microsoft', 'LobeHub', 'Zalando', 'MIT']) {
    assert.ok(foot.includes(source) && notices.includes(source), source);
  }
  assert.match(foot, /Apache-2\.0/);
  assert.match(notices, /Apache License\s+Version 2\.0/);
});

test('the package’s reference is that of its types: node web/reference.mjs writes it', () => {
  const text = reference();
  assert.equal(readFileSync(folder('web/package/API.md'), 'utf8'), text);
  assert.doesNotMatch(text, /\|  \|$/m, 'a call or option without a description');
  for (const name of ['GuidedDiffusion', 'Model', 'sampleStack', 'seedNoise', 'LoadOptions', 'SampleOptions', 'ErrorCode']) assert.match(text, new RegExp(`^## ${name}$`, 'm'));
});

/** What the types do not show: how it looks in our files, by its name in MDN's data. */
const UNTYPED = {
  'api.Worker.Worker.ecmascript_modules': /type: 'module' \}/,
  'api.FileSystemHandle.move': /handle\.move\(/,
  'html.elements.script.type.importmap': /<script type="importmap">/,
  'html.global_attributes.inert': /<main inert>/,
  'javascript.builtins.Error.Error.options_cause_parameter': /super\(message, options\)/,
  'css.types.color.light-dark': /light-dark\(/,
  'css.selectors.has': /:has\(/,
};

/** What the code uses and does without. */
const OPTIONAL = {
  'Symbol.asyncDispose': 'dispose.ts makes a symbol of that name where there is none',
  'OffscreenCanvasRenderingContext2D.imageSmoothingQuality': 'a drawing is made smaller less smoothly',
};

test('the versions of browsers are those of the youngest feature that is used', () => {
  const sources = ['web/package/src', 'web/page/src', 'web/page/static'].flatMap((place) =>
    readdirSync(folder(place), { recursive: true })
      .filter((file) => /\.(ts|html|css)$/.test(file))
      .map((file) => readFileSync(join(folder(place), file), 'utf8')),
  );
  const features = used();
  for (const name of Object.keys(OPTIONAL)) assert.ok(features.delete(name), `${name} is not used any more`);
  for (const name of ['GPUAdapter.info', 'WorkerNavigator.gpu', 'LockManager.request', 'AbortSignal.any', 'Element.checkVisibility']) assert.ok(features.has(name), name);
  for (const [name, pattern] of Object.entries(UNTYPED)) {
    assert.ok(sources.some((source) => pattern.test(source)), `${name} is not used any more`);
    const found = name.split('.').reduce((at, part) => at?.[part], mdn)?.__compat;
    assert.ok(found, `MDN’s data has no ${name}`);
    features.set(name, found);
  }
  /** The first version that has it, on some systems at least: `systems` says on which. */
  const since = ({ support }, browser) => {
    const plain = [support[browser]].flat().filter(({ flags, prefix, alternative_name: other }) => !(flags || prefix || other));
    const versions = plain.map(({ version_added: version }) => parseFloat(String(version).replace('≤', '')));
    return Math.min(...versions.filter(Number.isFinite)); // of none, infinity
  };
  const youngest = (browser) => {
    const [name, compat] = [...features].reduce((a, b) => (since(b[1], browser) > since(a[1], browser) ? b : a));
    console.log(`${browser}: ${since(compat, browser)} by ${name}, of ${features.size} features`);
    return since(compat, browser);
  };
  const expected = { 'Chrome and Edge': Math.max(youngest('chrome'), youngest('edge')), Safari: youngest('safari'), Firefox: youngest('firefox') };
  assert.deepEqual(Object.fromEntries(browsers.map(({ name, version }) => [name, version])), expected);
});
