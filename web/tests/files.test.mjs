/**
 * Where a model's bytes come from: other origins, compressed, broken off and continued, kept and checked. In both engines,
 * with a tiny model.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import { browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { deleteAll, load, stored } from './lib/load.mjs';
import { openSite } from './lib/site.mjs';

const MODELS = folder('target/tiny-models');
const FILE = 'base.safetensors';
const bytes = readFileSync(`${MODELS}/${FILE}`);
const sha256 = createHash('sha256').update(bytes).digest('hex');

describe('files', { concurrency: true }, () => {
  for (const { name, launch } of browsers()) {
    describe(name, { concurrency: false }, () => {
      let [site, faulty, page] = [];
      before(async () => {
        site = await openSite(launch, { '/models/': MODELS }, MODELS);
        ({ faulty, page } = site);
      });
      after(() => site?.close());
      beforeEach(async () => {
        faulty.requests.length = 0;
        faulty.state.fault = null;
        await deleteAll(page);
      });
      /** Loads while bodies break off in their middle. */
      const loadCut = (kind) => {
        faulty.state.fault = 'cut';
        return page.evaluate(load, [`${faulty.url}/${kind}/${FILE}`, { cut: { url: `${faulty.url}/cut`, at: bytes.length / 3 } }]);
      };
      const ranges = () => faulty.requests.filter(({ status }) => status === 206).map(({ range }) => range);

      test('a body that another origin compresses is loaded, and its true length is reported', async () => {
        const found = await page.evaluate(load, [`${faulty.url}/gzip/${FILE}`]);
        assert.equal(found.sha256, sha256, found.message);
        const all = { loaded: bytes.length, total: bytes.length };
        assert.deepEqual([found.last.loaded, found.last.total, found.last.files], [all.loaded, all.total, [{ role: 'model', name: FILE, ...all }]]);
        const { done, total } = found.last.kernels;
        assert.ok(done > 10 && done === total, `all kernels are compiled: ${done} of ${total}`);
        const again = await page.evaluate(load, [`${faulty.url}/gzip/${FILE}`]);
        assert.deepEqual([again.sha256, again.from.includes('network')], [sha256, false], 'it was kept');
        const response = await page.evaluate(load, [`${faulty.url}/gzip/${FILE}`, { response: true }]);
        assert.equal(response.sha256, sha256, response.message);
      });

      for (const kind of ['plain', 'gzip']) {
        test(`a download that breaks off continues where it ended: ${kind}`, async () => {
          const broken = await loadCut(kind);
          assert.equal(broken.code, 'network', broken.message);
          assert.ok(ranges().length >= 1, 'it was tried again at once');
          const [kept] = await stored(page);
          assert.ok(!kept.complete && kept.bytes >= bytes.length / 3 && kept.bytes < bytes.length, JSON.stringify(kept));
          faulty.state.fault = null;
          const found = await page.evaluate(load, [`${faulty.url}/${kind}/${FILE}`]);
          assert.equal(found.sha256, sha256, found.message);
          assert.equal(ranges().at(-1), `bytes=${kept.bytes}-`);
          assert.deepEqual([...found.from].sort(), ['cache', 'device', 'network']);
        });
      }

      test('a file that may have changed in the second of its date is never continued', async () => {
        const broken = await loadCut('fresh');
        assert.equal(broken.code, 'network', broken.message);
        assert.deepEqual([ranges(), await stored(page)], [[], []]);
      });

      test('parts of the compressed file are never taken for parts of the file', async () => {
        const broken = await loadCut('packed');
        assert.equal(broken.code, 'network', broken.message);
        assert.ok(ranges().length >= 1);
        faulty.state.fault = null;
        const found = await page.evaluate(load, [`${faulty.url}/packed/${FILE}`]);
        assert.equal(found.sha256, sha256, found.message);
        assert.equal(faulty.requests.at(-1).status, 200, 'from its start');
      });

      test('a load that is stopped is continued by the next one', async () => {
        const url = `${faulty.url}/plain/${FILE}`;
        faulty.state.fault = 'stall';
        const stopped = await page.evaluate(load, [url, {}, bytes.length / 3]);
        assert.equal(stopped.code, 'AbortError', stopped.message);
        const [kept] = await stored(page);
        faulty.state.fault = null;
        const found = await page.evaluate(load, [url]);
        assert.equal(found.sha256, sha256, found.message);
        assert.deepEqual(ranges(), [`bytes=${kept.bytes}-`]);
        const [file] = await stored(page);
        assert.deepEqual([file.complete, file.sha256, file.bytes], [true, sha256, bytes.length]);
      });

      test('other content than was expected is refused and not kept', async () => {
        const found = await page.evaluate(load, ['/models/' + FILE, { sha256: '0'.repeat(64) }]);
        assert.equal(found.code, 'bad-file');
        assert.match(found.message, new RegExp(`SHA-256 ${sha256}, but 0{64} was expected`));
        assert.deepEqual(await stored(page), []);
      });
    });
  }
});
