/**
 * A static file server on 127.0.0.1, which browsers take for a secure place: for development and for the browser tests.
 * Right MIME types (browsers refuse wasm and modules without them), byte ranges with entity tags (downloads are resumed by
 * them), and a log of what was asked for. What lies outside of the served folders is not served, not through links either.
 */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, sep } from 'node:path';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.md': 'text/markdown; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

/** What is behind a URL's path: `{ file, info }`, `{ folder: true }` where the slash at its end is missing, or null. */
async function locate(mounts, path) {
  const prefix = Object.keys(mounts)
    .filter((p) => path.startsWith(p))
    .sort((a, b) => b.length - a.length)[0];
  if (prefix === undefined || path.includes('\0')) return null;
  const root = await realpath(mounts[prefix]).catch(() => null);
  const wanted = root && join(root, normalize(`/${path.slice(prefix.length)}`), path.endsWith('/') ? 'index.html' : '');
  // Links are followed first: what they lead to must be inside.
  const file = wanted && (await realpath(wanted).catch(() => null));
  if (!file || (file !== root && !file.startsWith(root.endsWith(sep) ? root : root + sep))) return null;
  const info = await stat(file);
  if (info.isDirectory()) return { folder: true };
  return info.isFile() && !wanted.endsWith(sep) ? { file, info } : null;
}

/** `[first, last]` of a `Range` header for a file of `size` bytes; null without one, 'bad' if it cannot be met. */
function range(header, size) {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!found || (found[1] === '' && found[2] === '')) return null;
  const first = found[1] === '' ? Math.max(0, size - Number(found[2])) : Number(found[1]);
  const last = found[1] === '' || found[2] === '' ? size - 1 : Math.min(Number(found[2]), size - 1);
  return first <= last ? [first, last] : 'bad';
}

/** Answers one request; `answer` writes the head. */
async function respond(mounts, request, response, path, answer) {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    answer(405);
    return response.end();
  }
  const found = await locate(mounts, path);
  if (!found) {
    answer(404, { 'Content-Type': TYPES['.txt'] });
    return response.end(`there is no ${path}\n`);
  }
  const { file, info, folder } = found;
  if (folder) {
    // Else relative addresses in its index would mean something else.
    const { pathname, search } = new URL(request.url, 'http://localhost');
    answer(301, { Location: `${pathname.replace(/^\/+/, '/')}/${search}` });
    return response.end();
  }
  const etag = `"${info.size.toString(16)}-${Math.floor(info.mtimeMs).toString(16)}"`;
  const headers = {
    'Accept-Ranges': 'bytes',
    'Cache-Control': 'no-cache',
    'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
    ETag: etag,
  };
  if (request.headers['if-none-match'] === etag) {
    answer(304, headers);
    return response.end();
  }
  const unchanged = [undefined, etag].includes(request.headers['if-range']);
  const part = unchanged ? range(request.headers.range, info.size) : null;
  if (part === 'bad') {
    answer(416, { 'Content-Range': `bytes */${info.size}` });
    return response.end();
  }
  const [first, last] = part ?? [0, info.size - 1];
  answer(part ? 206 : 200, {
    ...headers,
    'Content-Length': last - first + 1,
    ...(part && { 'Content-Range': `bytes ${first}-${last}/${info.size}` }),
  });
  if (request.method === 'HEAD' || info.size === 0) return response.end();
  const stream = createReadStream(file, { start: first, end: last });
  stream.on('error', () => response.destroy());
  response.on('close', () => stream.destroy());
  return stream.pipe(response);
}

/**
 * Serves `mounts`, for instance `{ '/': 'web/dist', '/models/': 'models' }` (prefixes end in a slash, the longest wins), on
 * `port`, or on a free one.
 *
 * `requests` collects `{ method, path, range, status }` of every answer; `close()` ends it, open connections included.
 */
export async function serve(mounts, port = 0) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let path = request.url;
    const answer = (status, headers = {}) => {
      requests.push({ method: request.method, path, range: request.headers.range ?? null, status });
      response.writeHead(status, headers);
    };
    try {
      path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
      await respond(mounts, request, response, path, answer);
    } catch (error) {
      // Not the error itself, which may hold a path.
      if (!response.headersSent) answer(error instanceof URIError || error instanceof TypeError ? 400 : 500, { 'Content-Type': TYPES['.txt'] });
      response.end('this cannot be served\n');
    }
  });
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
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
