/**
 * A static file server on 127.0.0.1 for browser tests: right MIME types (browsers refuse wasm and modules without
 * them), byte ranges with validators (downloads are resumed by them), and a log of what was asked for.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';

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

/** The file behind a URL's path: `mounts` maps prefixes that end in a slash to folders, the longest prefix wins. */
function locate(mounts, path) {
  const prefix = Object.keys(mounts)
    .filter((p) => path.startsWith(p))
    .sort((a, b) => b.length - a.length)[0];
  if (prefix === undefined) return null;
  const rest = normalize(path.slice(prefix.length));
  if (rest === '..' || rest.startsWith(`..${sep}`) || rest.includes('\0')) return null;
  return join(mounts[prefix], path.endsWith('/') ? join(rest, 'index.html') : rest);
}

/** `[first, last]` of a `Range` header for a file of `size` bytes; null without one, 'bad' if it cannot be met. */
function range(header, size) {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!found || (found[1] === '' && found[2] === '')) return null;
  const first = found[1] === '' ? Math.max(0, size - Number(found[2])) : Number(found[1]);
  const last = found[1] === '' || found[2] === '' ? size - 1 : Math.min(Number(found[2]), size - 1);
  return first <= last ? [first, last] : 'bad';
}

/**
 * Serves `mounts`, for instance `{ '/': 'web/dist', '/models/': 'models' }`, on a free port.
 *
 * `requests` collects `{ method, path, range, status }` of every answer; `close()` ends it, open connections included.
 */
export async function serve(mounts) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const answer = (status, headers = {}) => {
      requests.push({ method: request.method, path, range: request.headers.range ?? null, status });
      response.writeHead(status, { 'Cache-Control': 'no-store', ...headers });
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(405);
      return response.end();
    }
    const file = locate(mounts, path);
    const info = file && (await stat(file).catch(() => null));
    if (!info?.isFile()) {
      answer(404);
      return response.end(`there is no ${path}\n`);
    }
    const etag = `"${info.size.toString(16)}-${Math.floor(info.mtimeMs).toString(16)}"`;
    const fresh = [undefined, etag].includes(request.headers['if-range']);
    const part = fresh ? range(request.headers.range, info.size) : null;
    if (part === 'bad') {
      answer(416, { 'Content-Range': `bytes */${info.size}` });
      return response.end();
    }
    const [first, last] = part ?? [0, info.size - 1];
    answer(part ? 206 : 200, {
      'Accept-Ranges': 'bytes',
      'Content-Length': last - first + 1,
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      ETag: etag,
      ...(part && { 'Content-Range': `bytes ${first}-${last}/${info.size}` }),
    });
    if (request.method === 'HEAD' || info.size === 0) return response.end();
    const stream = createReadStream(file, { start: first, end: last });
    stream.on('error', () => response.destroy());
    response.on('close', () => stream.destroy());
    return stream.pipe(response);
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}
