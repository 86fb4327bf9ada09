/** The server of `make web` and of these tests: which folder lies where, and what it says of a port that is taken; and that tests end. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serve } from '../server.mjs';
import { PATIENCE } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';

describe('the server', () => {
  let [outer, server] = [];
  /** A request whose path no client has tidied. */
  const get = async (path, headers = {}) => {
    const sent = request(server.url, { path, headers }).end();
    const [response] = await once(sent, 'response');
    let body = '';
    for await (const piece of response) body += piece;
    return { status: response.statusCode, headers: response.headers, body };
  };

  before(async () => {
    outer = mkdtempSync(join(tmpdir(), 'server-'));
    mkdirSync(join(outer, 'root/inner'), { recursive: true });
    mkdirSync(join(outer, 'models'));
    writeFileSync(join(outer, 'secret.txt'), 'secret');
    writeFileSync(join(outer, 'root/page.html'), '0123456789');
    writeFileSync(join(outer, 'root/inner/index.html'), 'inner');
    writeFileSync(join(outer, 'models/a.wasm'), 'model');
    server = await serve({ '/': join(outer, 'root'), '/models/': join(outer, 'models') }, 0, { 'X-Test': 'yes' });
  });
  after(async () => {
    await server?.close();
    rmSync(outer, { recursive: true });
  });

  test('serves folders at their places, with headers, and logs it', async () => {
    const whole = await get('/page.html');
    assert.deepEqual([whole.status, whole.body, whole.headers['x-test']], [200, '0123456789', 'yes']);
    assert.match(whole.headers['content-type'], /^text\/html;/);
    assert.equal((await get('/page.html', { 'if-none-match': whole.headers.etag })).status, 304);
    const part = await get('/page.html', { range: 'bytes=4-' });
    assert.deepEqual([part.status, part.body, part.headers['content-range']], [206, '456789', 'bytes 4-9/10']);
    const model = await get('/models/a.wasm?x=1');
    assert.deepEqual([model.body, model.headers['content-type']], ['model', 'application/wasm']);
    assert.equal((await get('/inner/')).body, 'inner');
    const last = server.requests.at(-2);
    assert.deepEqual(last, { method: 'GET', path: '/models/a.wasm', range: null, status: 200 });
  });

  test('serves nothing from outside', async () => {
    for (const path of ['/../secret.txt', '/%2e%2e/secret.txt', '/inner/../../secret.txt', '//..', '/nothing']) {
      const { status, body } = await get(path);
      assert.equal(status, 404, path);
      assert.ok(!body.includes('secret\n') && body !== 'secret', path);
    }
  });

  test('a test run ends where a browser does not start', async () => {
    const open = {
      'page/harness.mjs': 'start()',
      'lib/site.mjs': "openSite(() => Promise.reject(new Error('no browser')), {}, '.')",
    };
    for (const [module, call] of Object.entries(open)) {
      const name = call.split('(')[0];
      const code = `import { ${name} } from ${JSON.stringify(folder(`web/tests/${module}`))}; await ${call}.catch((error) => console.log('refused: ' + error.message));`;
      const program = spawn(process.execPath, ['--input-type=module', '-e', code], { env: { ...process.env, CHROMIUM: '/nowhere' } });
      let said = '';
      program.stdout.on('data', (piece) => (said += piece));
      const late = setTimeout(() => program.kill(), PATIENCE);
      const [status] = await once(program, 'close');
      clearTimeout(late);
      assert.equal(status, 0, `${module}: it goes on for ever`);
      assert.match(said, /^refused: /, module);
    }
  });

  test('says which port is taken, and what to do', async () => {
    const port = new URL(server.url).port;
    const second = spawn(process.execPath, [folder('web/serve.mjs'), outer, port]);
    let said = '';
    second.stderr.on('data', (piece) => (said += piece));
    const [code] = await once(second, 'close');
    assert.equal(code, 1);
    assert.equal(said, `serve: port ${port} is taken by another program: end that, or choose a port: make web PORT=${Number(port) + 1}\n`);
  });
});
