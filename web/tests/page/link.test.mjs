/** Links with settings: what is written is read again, and what is hostile is left at its default. */
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { fileName } from 'guided-diffusion';
import { offered, parseLink, parseUrl, stepOptions, takesEta, toLink, usualOf } from '../../dist/settings.js';

globalThis.crypto ??= webcrypto; // Node 18 has it under the other name alone

const settings = {
  label: 7,
  count: 12,
  steps: 50,
  enlarge: 5,
  sampler: 'ddim',
  eta: 0.25,
  guidance: 3.5,
  seed: 18446744073709551615n,
  first: 4,
};

test('a link keeps every setting', () => {
  const others = [...offered('discrete'), ...offered('consistency')].map(({ name }) => ({ ...settings, sampler: name, eta: takesEta(name) ? 0.25 : 0 }));
  assert.ok(others.length >= 2);
  for (const given of [settings, { ...settings, label: null, first: 0 }, ...others]) {
    const read = parseLink(toLink(given, { kind: 'fashion' }));
    assert.deepEqual([read.settings, read.model], [given, { kind: 'fashion' }]);
    assert.ok(['seed', 'sampler', 'steps', 'guidance'].every((name) => read.named.has(name)));
  }
  const stack = parseLink(toLink({ ...settings, enlarge: 9 }, { kind: 'stack' }));
  assert.deepEqual([stack.settings, stack.model], [{ ...settings, enlarge: 9 }, { kind: 'stack' }]);
});

test('a link names models from elsewhere', () => {
  const model = { kind: 'url', model: 'https://example.org/a%20b.safetensors?x=1&y=2', classifier: 'https://example.org/c', upsampler: 'https://example.org/u' };
  assert.deepEqual(parseLink(toLink(settings, model)).model, model);
});

test('an address with a lone percent sign is taken as it is, and has a name', () => {
  const address = 'https://example.org/%';
  const expected = { kind: 'url', model: address, classifier: '', upsampler: '' };
  assert.deepEqual(parseLink(toLink(settings, expected)).model, expected);
  assert.deepEqual(parseLink(`#model=${address}`).model, expected, 'not even encoded');
  assert.equal(fileName(address), '%');
  assert.equal(fileName('https://example.org/a%20b.safetensors?x=%'), 'a b.safetensors');
  assert.equal(fileName('https://example.org/'), 'https://example.org/');
});

test('steps are put to a sampler as its model takes them', () => {
  const fashion = usualOf({ defaults: { sampler: 'ddim', steps: 'ddim25', guidance: 1 }, guided: true, process: 'discrete' });
  assert.deepEqual(fashion, { sampler: 'ddim', steps: 25, guidance: 2 });
  assert.deepEqual(stepOptions({ sampler: 'ddim', steps: 25 }, fashion), {}, 'by itself it takes its own timesteps');
  assert.deepEqual(stepOptions({ sampler: 'ddim', steps: 20 }, fashion), { sampler: 'ddim', steps: 20 });
  const consistency = usualOf({ defaults: { sampler: 'multistep', steps: '40', guidance: null }, guided: false, process: 'consistency' });
  assert.deepEqual(consistency, { sampler: 'multistep', steps: 2, guidance: 1 });
  assert.deepEqual(stepOptions({ sampler: 'multistep', steps: 3 }, consistency), { sampler: 'multistep', steps: 40, at: [0, 13, 26, 39] });
  assert.deepEqual(stepOptions({ sampler: 'onestep', steps: 1 }, consistency), { sampler: 'onestep' });
});

test('an empty link gives a seed of its own and no model', () => {
  const read = parseLink('');
  assert.equal(read.named.size, 0);
  assert.equal(read.model, null);
  assert.ok(read.settings.seed >= 0n && read.settings.seed < 1n << 32n);
});

test('what is out of bounds or no number is left at its default', () => {
  const usual = parseLink('#seed=1').settings;
  for (const hostile of [
    'count=0',
    'count=65',
    'count=1e3',
    'count=-1',
    'count=0x10',
    'count=1.5',
    'count=NaN',
    'count=' + '9'.repeat(5000),
    'steps=1',
    'steps=1001',
    'steps=Infinity',
    'eta=1.01',
    'eta=.5',
    'guidance=101',
    'guidance=-1',
    'label=-1',
    'label=100000',
    'label=1.5',
    'sampler=nothing',
    'sampler=repaint',
    'sampler=__proto__',
    '__proto__=1',
    '%',
    '\u0000',
  ]) {
    assert.deepEqual(parseLink(`#seed=1&${hostile}`).settings, usual, hostile.slice(0, 60));
  }
  for (const seed of ['18446744073709551616', '-1', '1.0', '0x1', '', ' 1', '9'.repeat(5000)]) {
    assert.equal(parseLink(`#seed=${seed}`).named.size, 0, seed.slice(0, 60));
  }
});

test('only addresses that a model may come from are taken', () => {
  for (const address of [
    'javascript:alert(1)',
    'data:text/html,x',
    'blob:https://example.org/1',
    'file:///etc/passwd',
    'http://example.org/m.safetensors',
    'https://user:word@example.org/m.safetensors',
    '//example.org/m',
    'm.safetensors',
    `https://example.org/${'m'.repeat(2000)}`,
    '',
  ]) {
    assert.equal(parseUrl(address), null, address.slice(0, 60));
  }
  assert.equal(parseUrl('http://localhost:8000/m.safetensors'), 'http://localhost:8000/m.safetensors');
});
