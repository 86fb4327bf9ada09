/**
 * A server of another origin with the faults that real ones have: it compresses, breaks off, and counts parts in compressed
 * bytes. A path's first part says how: `/plain/`, `/fresh/` (changed just now), `/gzip/` (parts are of the plain file), `/packed/` (of the
 * compressed one); the page may read no more headers than it must, but for `Content-Range` and `ETag` where a server exposes
 * them, as those of models do.
 */
import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';

export async function serveFaulty(root) {
  /** What was asked for: `{ path, range, status, authorization }`. */
  const requests = [];
  /**
   * `cut`: bodies end in their middle once `/cut` is asked for (since what is on its way is lost with the connection), and
   * continued ones at once; `stall`: nothing follows there, `silence`: there is no answer at all. `busy`: so many requests
   * are answered by 503, `drop`: so many lose their connection. `secret`: what `Authorization` must hold. `refuse`: pages may not send
   * headers of their own.
   */
  const state = { fault: null, busy: 0, drop: 0, secret: null, refuse: false };
  /** Bodies that wait for `/cut`. */
  const halves = new Set();
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/cut') {
      for (const half of halves) half.destroy();
      halves.clear();
      return response.end();
    }
    const [, kind] = pathname.split('/');
    const file = join(root, basename(pathname));
    const plain = readFileSync(file);
    const head = (status, headers) => {
      const { range = null, authorization = null } = request.headers;
      if (request.method !== 'OPTIONS') requests.push({ path: pathname, range, status, authorization });
      response.writeHead(status, {
        'Access-Control-Allow-Origin': '*',
        'Access-Control-Allow-Headers': 'range, if-range, authorization',
        'Access-Control-Expose-Headers': 'Content-Range, ETag',
        'Cache-Control': 'no-store',
        // Of yesterday: a date of this very minute proves nothing.
        'Last-Modified': new Date(kind === 'fresh' ? Date.now() : statSync(file).mtimeMs - 86_400_000).toUTCString(),
        ...headers,
      });
    };
    if (request.method === 'OPTIONS') {
      head(204, state.refuse ? { 'Access-Control-Allow-Headers': '' } : {});
      return response.end();
    }
    if (state.secret !== null && request.headers.authorization !== state.secret) {
      head(401);
      return response.end();
    }
    if (state.drop > 0) {
      state.drop--;
      return request.socket.destroy();
    }
    if (state.busy > 0) {
      state.busy--;
      head(503);
      return response.end();
    }
    if (state.fault === 'silence') return requests.push({ path: pathname, range: request.headers.range ?? null, status: 0 });
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const packed = kind === 'packed' || (kind === 'gzip' && !request.headers.range);
    const whole = packed ? gzipSync(plain, { level: 1 }) : plain;
    const body = whole.subarray(from);
    head(request.headers.range ? 206 : 200, {
      ...(packed && { 'Content-Encoding': 'gzip' }),
      ...(request.headers.range && { 'Content-Range': `bytes ${from}-${whole.length - 1}/${whole.length}` }),
      'Content-Length': body.length,
    });
    if (!state.fault) return response.end(body);
    response.write(body.subarray(0, body.length / 2));
    if (state.fault !== 'cut') return;
    if (from === 0) halves.add(response);
    else response.destroy();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    requests,
    state,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}
