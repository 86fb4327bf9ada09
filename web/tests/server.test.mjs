/** The server of `make web` and of these tests: what it serves, and what it must not. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serve } from '../server.mjs';
import { folder } from './lib/folder.mjs';

describe('the server', () => {
  let [outer, server] = [];
  /** A request whose path no client has tidied. */
  const get = async (path, headers = {}, method = 'GET') => {
    const sent = request(server.url, { path, headers, method }).end();
    const [response] = await once(sent, 'response');
    let body = '';
    for await (const piece of response) body += piece;
    return { status: response.statusCode, headers: response.headers, body };
  };

  before(async () => {
    outer = mkdtempSync(join(tmpdir(), 'server-'));
    const root = join(outer, 'root');
    mkdirSync(join(root, 'inner'), { recursive: true });
    writeFileSync(join(outer, 'secret.txt'), 'secret');
    writeFileSync(join(root, 'page.html'), '0123456789');
    writeFileSync(join(root, 'inner/index.html'), 'inner');
    symlinkSync('../secret.txt', join(root, 'leak.txt'));
    symlinkSync('..', join(root, 'up'));
    symlinkSync('page.html', join(root, 'link.html'));
    server = await serve({ '/': root });
  });
  after(async () => {
    await server?.close();
    rmSync(outer, { recursive: true });
  });

  test('serves files, parts of them, and indices', async () => {
    const whole = await get('/page.html');
    assert.deepEqual([whole.status, whole.body, whole.headers['content-type']], [200, '0123456789', 'text/html; charset=utf-8']);
    assert.equal((await get('/link.html')).body, '0123456789', 'a link inside is a file');
    const part = await get('/page.html', { range: 'bytes=4-', 'if-range': whole.headers.etag });
    assert.deepEqual([part.status, part.body, part.headers['content-range']], [206, '456789', 'bytes 4-9/10']);
    assert.equal((await get('/page.html', { range: 'bytes=4-', 'if-range': '"old"' })).status, 200);
    assert.equal((await get('/page.html', { range: 'bytes=10-' })).status, 416);
    assert.equal((await get('/page.html', { 'if-none-match': whole.headers.etag })).status, 304);
    assert.equal((await get('/page.html', {}, 'POST')).status, 405);
    assert.equal((await get('/inner/')).body, 'inner');
    const bare = await get('/inner?x=1');
    assert.deepEqual([bare.status, bare.headers.location], [301, '/inner/?x=1']);
  });

  test('serves nothing from outside', async () => {
    for (const path of ['/../secret.txt', '/%2e%2e/secret.txt', '/inner/../../secret.txt', '/leak.txt', '/up/secret.txt', '/page.html/', '/a%00b', '//..']) {
      const { status, body } = await get(path);
      assert.equal(status, 404, path);
      assert.ok(!body.includes('secret\n') && body !== 'secret', path);
    }
    assert.equal((await get('/%')).status, 400);
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
