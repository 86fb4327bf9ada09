// A static server for development: node web/serve.mjs [FOLDER (web/dist)] [PORT (8000)]. It answers on 127.0.0.1 alone,
// which browsers take for a secure place, with ranges and entity tags, so that interrupted downloads can be resumed.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** The range that a request asks for, `null` for the whole file, or `undefined` for an impossible one. */
function rangeOf(request, size, etag) {
  const condition = request.headers['if-range'];
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  if (!match || (condition && condition !== etag)) return null;
  const [start, end] = [Number(match[1]), match[2] ? Math.min(Number(match[2]), size - 1) : size - 1];
  return start <= end ? { start, end } : undefined;
}

async function answer(folder, request, response) {
  const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
  let file = join(folder, normalize(path));
  let found = await stat(file).catch(() => null);
  if (found?.isDirectory()) {
    file = join(file, 'index.html');
    found = await stat(file).catch(() => null);
  }
  if (!found?.isFile()) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end(`no such file: ${path}\n`);
    return;
  }
  const etag = `"${found.size.toString(16)}-${found.mtimeMs.toString(16)}"`;
  const headers = {
    'accept-ranges': 'bytes',
    'cache-control': 'no-cache',
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
    etag,
  };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = rangeOf(request, found.size, etag);
  if (range === undefined) {
    response.writeHead(416, { 'content-range': `bytes */${found.size}` }).end();
    return;
  }
  const { start, end } = range ?? { start: 0, end: found.size - 1 };
  headers['content-length'] = end - start + 1;
  if (range) headers['content-range'] = `bytes ${start}-${end}/${found.size}`;
  response.writeHead(range ? 206 : 200, headers);
  if (request.method === 'HEAD' || found.size === 0) response.end();
  else createReadStream(file, { start, end }).on('error', () => response.destroy()).pipe(response);
}

/** Serves `folder` until the returned server is closed; port 0 takes a free one. */
export function serve(folder, port = 0) {
  const server = createServer((request, response) => {
    answer(folder, request, response).catch((error) => {
      if (!response.headersSent) response.writeHead(400, { 'content-type': 'text/plain' });
      response.end(`${error.message}\n`);
    });
  });
  return new Promise((done, failed) => {
    server.on('error', failed);
    server.listen(port, '127.0.0.1', () => done(server));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = resolve(process.argv[2] ?? join(fileURLToPath(import.meta.url), '../dist'));
  const server = await serve(folder, Number(process.argv[3] ?? 8000));
  console.log(`http://127.0.0.1:${server.address().port}/`);
}
