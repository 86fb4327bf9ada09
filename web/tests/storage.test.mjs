/**
 * What is kept of models: nothing good is lost by a failure, nothing useless stays, and what was damaged is put right. In both
 * engines, with a tiny model.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import { browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { damage, deleteAll, kept, load, stored } from './lib/load.mjs';
import { openSite } from './lib/site.mjs';

const MODELS = folder('target/tiny-models');
const FILE = 'base.safetensors';
const bytes = readFileSync(`${MODELS}/${FILE}`);
const sha256 = createHash('sha256').update(bytes).digest('hex');

describe('storage', { concurrency: true }, () => {
  for (const { name, launch } of browsers()) {
    describe(name, { concurrency: false }, () => {
      let [site, faulty, page, url] = [];
      before(async () => {
        site = await openSite(launch, { '/models/': MODELS }, MODELS);
        ({ faulty, page } = site);
        url = `${faulty.url}/plain/${FILE}`;
      });
      after(() => site?.close());
      beforeEach(async () => {
        Object.assign(faulty.state, { fault: null, busy: 0, drop: 0, secret: null, refuse: false });
        await deleteAll(page);
        faulty.requests.length = 0;
      });
      const until = async (holds) => {
        while (!(await holds())) await page.waitForTimeout(20);
      };
      const asked = () => faulty.requests.map(({ status }) => status);

      /** Leaves a part of the file behind, and gives its size. */
      async function leavePart(of = url) {
        faulty.state.fault = 'stall';
        const stopped = await page.evaluate(load, [of, {}, bytes.length / 3]);
        assert.equal(stopped.code, 'AbortError', stopped.message);
        faulty.state.fault = null;
        faulty.requests.length = 0;
        const [part] = await stored(page);
        assert.ok(part && !part.complete && part.bytes < bytes.length, JSON.stringify(part));
        return part.bytes;
      }

      const HARM = { 'its header': { at: 3 }, 'its names': { at: 20 }, 'its length': { length: bytes.length - 100 }, 'a weight': { at: bytes.length - 4 } };
      for (const [what, how] of Object.entries(HARM)) {
        test(`a stored file is fetched anew where this is damaged: ${what}`, async () => {
          await page.evaluate(load, [url]);
          await page.evaluate(damage, how);
          const found = await page.evaluate(load, [url]);
          assert.equal(found.sha256, sha256, found.message);
          assert.deepEqual(asked(), [200, 200]);
          const again = await page.evaluate(load, [url]);
          assert.deepEqual([again.sha256, again.kept, asked().length], [sha256, true, 2], 'and is kept in its place');
        });
      }

      test('a file that is being downloaded is not said to be deleted', async () => {
        faulty.state.fault = 'stall';
        const loading = page.evaluate(load, [url, {}, -3000]);
        await until(async () => (await kept(page)).some((one) => one.endsWith('.part')));
        const refused = await page.evaluate((one) => window.engine.deleteStored(one).then(() => null, ({ code }) => code), url);
        assert.equal(refused, 'busy');
        assert.equal((await loading).code, 'AbortError');
        await page.evaluate((one) => window.engine.deleteStored(one), url);
        assert.deepEqual(await kept(page), []);
      });

      test('a load that is stopped leaves nothing that is not listed', async () => {
        for (const fault of ['silence', 'stall']) {
          for (const stop of [-300, 1]) {
            if (fault === 'silence' && stop > 0) continue;
            faulty.state.fault = fault;
            const stopped = await page.evaluate(load, [url, {}, stop]);
            assert.equal(stopped.code, 'AbortError', stopped.message);
            const listed = (await stored(page)).length;
            assert.equal((await kept(page)).length, 2 * listed, `${fault}, ${stop}: ${await kept(page)}`);
          }
        }
      });

      test('what a page that was closed has left is swept away, but for a download that only lacks its note', async () => {
        const whole = `/models/${FILE}`;
        await page.evaluate(load, [whole]);
        faulty.state.fault = 'silence';
        void page.evaluate(load, [url]);
        await until(() => faulty.requests.length > 0);
        await page.evaluate(() => {
          window.engine.dispose();
          window.engine = undefined;
        });
        faulty.state.fault = null;
        await page.evaluate(async () => {
          const at = await (await navigator.storage.getDirectory()).getDirectoryHandle('guided-diffusion');
          const names = [];
          for await (const name of at.keys()) names.push(name);
          for (const name of names.filter((one) => /^[0-9a-f]+\.json$/.test(one))) {
            await (await at.getFileHandle(name)).move(name.replace('.json', '.part.json'));
          }
          for (const name of ['dead.bin', 'dead.json.tmp', 'alone.json']) {
            const writer = await (await at.getFileHandle(name, { create: true })).createWritable();
            await writer.write('{}');
            await writer.close();
          }
          const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
          window.engine = await GuidedDiffusion.create();
        });
        assert.deepEqual((await stored(page)).map(({ complete, url: of }) => [complete, new URL(of).pathname]), [[true, whole]]);
        assert.equal((await kept(page)).length, 2);
      });

      test('another hash than expected loses nothing of the file that is there', async () => {
        await page.evaluate(load, [url]);
        const refused = await page.evaluate(load, [url, { sha256: '0'.repeat(64) }]);
        assert.equal(refused.code, 'bad-file', refused.message);
        const [file] = await stored(page);
        assert.deepEqual([file?.complete, file?.sha256], [true, sha256]);
        const found = await page.evaluate(load, [url]);
        assert.deepEqual([found.sha256, asked()], [sha256, [200, 200]]);
      });

      test('what is stored is listed and deleted without a GPU', async () => {
        await page.evaluate(load, [url]);
        const [before, after] = await page.evaluate(async (one) => {
          const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
          const listed = await GuidedDiffusion.stored();
          await GuidedDiffusion.deleteStored(one);
          return [listed.map((file) => file.url), await window.engine.stored()];
        }, url);
        assert.deepEqual([before, after], [[url], []]);
      });

      test('options that the device or the model refuses lose no part', async () => {
        const size = await leavePart();
        for (const options of [{ batch: 1 << 20 }, { classifier: url }]) {
          const refused = await page.evaluate(load, [url, options]);
          assert.ok(['too-large', 'out-of-memory', 'bad-options', 'bad-file'].includes(refused.code), JSON.stringify(refused));
          const [part] = await stored(page);
          assert.ok(part.bytes >= size, JSON.stringify(part));
        }
      });

      test('a busy server is asked again, and loses no part', async () => {
        const size = await leavePart();
        faulty.state.busy = 100;
        const refused = await page.evaluate(load, [url]);
        assert.equal(refused.code, 'network', refused.message);
        assert.match(refused.message, /503/);
        assert.equal((await stored(page))[0]?.bytes, size);
        faulty.state.busy = 1;
        faulty.requests.length = 0;
        const found = await page.evaluate(load, [url]);
        assert.equal(found.sha256, sha256, found.message);
        assert.deepEqual(faulty.requests.map(({ status, range }) => [status, range]), [[503, `bytes=${size}-`], [206, `bytes=${size}-`]]);
      });

      test('a connection that is lost when a download is continued costs nothing of it', async () => {
        const size = await leavePart();
        // Browsers ask once more by themselves where the connection was an old one.
        faulty.state.drop = 2;
        const found = await page.evaluate(load, [url]);
        assert.deepEqual([found.sha256, faulty.requests.map(({ status, range }) => [status, range])], [sha256, [[206, `bytes=${size}-`]]], found.message);
      });

      for (const how of ['the browser’s own fetch', 'the page’s own fetch']) {
        test(`where the server lets no page ask for a part, the whole is asked for by ${how}`, async () => {
          // An address of its own: what its server allows is remembered for some seconds.
          const own = url.replace('plain', how.slice(4, 8));
          await leavePart(own);
          faulty.state.refuse = true;
          const found = await page.evaluate(load, [own, how.includes('page') ? { own: {} } : {}]);
          assert.deepEqual([found.sha256, asked()], [sha256, [200]], found.message);
        });
      }

      test('a file that a page is sweeping is waited for', async () => {
        await page.evaluate(load, [url]);
        await page.evaluate(async () => {
          const at = await (await navigator.storage.getDirectory()).getDirectoryHandle('guided-diffusion');
          for await (const name of at.keys()) {
            await new Promise((held) => {
              const lock = `guided-diffusion ${name.split('.', 1)[0]}`;
              void navigator.locks.request(lock, () => (held(), new Promise((over) => setTimeout(over, 200))));
            });
            break;
          }
        });
        const found = await page.evaluate(load, [url]);
        assert.deepEqual([found.sha256, found.kept, asked()], [sha256, true, [200]], found.message);
      });

      test('headers for the model do not go to the classifier’s server', async () => {
        const headers = { Authorization: 'Bearer x' };
        const found = await page.evaluate(load, [`${site.server.url}/models/${FILE}`, { headers, classifier: `${faulty.url}/plain/judge.safetensors` }]);
        assert.equal(found.sha256, sha256, found.message);
        assert.deepEqual(faulty.requests.map(({ authorization }) => authorization), [null]);
        await deleteAll(page);
        await page.evaluate(load, [url, { headers, classifier: `${faulty.url}/plain/judge.safetensors` }]);
        assert.deepEqual(faulty.requests.map(({ authorization }) => authorization), [null, 'Bearer x', 'Bearer x'], 'but to one that is the model’s, too');
      });

      test('a part that is complete is not asked for again; stopping is heard while it is read', async () => {
        await page.evaluate(load, [url]);
        await page.evaluate(async () => {
          const at = await (await navigator.storage.getDirectory()).getDirectoryHandle('guided-diffusion');
          for await (const name of at.keys()) {
            if (!name.endsWith('.json')) continue;
            const note = JSON.parse(await (await (await at.getFileHandle(name)).getFile()).text());
            const writer = await (await at.getFileHandle(name.replace('.json', '.part.json'), { create: true })).createWritable();
            await writer.write(JSON.stringify({ ...note, sha256: '' }));
            await writer.close();
            await (await at.getFileHandle(name.replace('.json', '.bin'))).move(name.replace('.json', '.part'));
            await at.removeEntry(name);
          }
        });
        faulty.requests.length = 0;
        const stopped = await page.evaluate(load, [url, {}, 1]);
        assert.equal(stopped.code, 'AbortError', stopped.message);
        assert.ok(stopped.last.loaded < bytes.length, 'not read to its end');
        const found = await page.evaluate(load, [url]);
        assert.deepEqual([found.sha256, asked()], [sha256, []], found.message);
      });

      test('without private storage, the browser’s own cache serves', async () => {
        const own = `/models/${FILE}`;
        await page.evaluate(() => {
          window.others = [window.engine, window.engineOptions];
          [window.engine, window.engineOptions] = [undefined, { workerUrl: '/workers/without-storage.js' }];
        });
        site.server.requests.length = 0;
        for (let k = 0; k < 2; k++) {
          const found = await page.evaluate(load, [own]);
          assert.deepEqual([found.sha256, found.kept], [sha256, false], found.message);
        }
        const answers = site.server.requests.filter(({ path }) => path === own).map(({ status }) => status);
        assert.deepEqual(answers, [200, 304]);
        await page.evaluate(() => {
          window.engine.dispose();
          [window.engine, window.engineOptions] = window.others;
        });
      });

      test('says how much room there is, and asks the browser to delete nothing', async () => {
        await page.evaluate(load, [url]);
        const [room, asked] = await page.evaluate(async () => {
          // The browser itself may ask its user.
          let calls = 0;
          navigator.storage.persist = () => Promise.resolve(++calls === 1);
          return [await window.engine.storage(), [await window.engine.persist(), await window.engine.persist(), calls]];
        });
        assert.ok(room.usage > 0 && room.quota > room.usage, JSON.stringify(room));
        assert.equal(typeof room.persistent, 'boolean');
        assert.deepEqual(asked, [true, false, 2]);
      });

      test('a gated model is asked for with the page’s headers or by the page’s own function', async () => {
        faulty.state.secret = 'Bearer x';
        assert.match((await page.evaluate(load, [url])).message, /401/);
        const found = await page.evaluate(load, [url, { headers: { Authorization: 'Bearer x' } }]);
        assert.equal(found.sha256, sha256, found.message);
        await deleteAll(page);
        const own = await page.evaluate(load, [url, { own: { Authorization: 'Bearer x' } }]);
        assert.deepEqual([own.sha256, own.kept], [sha256, true], own.message);
      });

      test('nothing is written to the console but what servers refused', () => {
        assert.deepEqual(site.messages.filter((text) => !/401|503|Failed to load resource|blocked by CORS policy|Same Origin Policy disallows/.test(text)), []);
      });
    });
  }
});
