/**
 * A static file server on 127.0.0.1, which browsers take for a secure place: for development and for the browser tests. sirv serves
 * the files, with MIME types, byte ranges and entity tags; here is which folder lies where, and a log of what was asked for.
 */
import { createServer } from 'node:http';
import sirv from 'sirv';

/**
 * Serves `mounts`, for instance `{ '/': 'web/dist', '/models/': 'models' }` (prefixes end in a slash, the longest wins), on
 * `port`, or on a free one. `headers` are those of every answer.
 *
 * `requests` collects `{ method, path, range, status }` of every answer; `close()` ends it, open connections included.
 */
export async function serve(mounts, port = 0, headers = {}) {
  const requests = [];
  const folders = Object.entries(mounts)
    .sort(([a], [b]) => b.length - a.length)
    .map(([prefix, folder]) => [prefix, sirv(folder, { dev: true, etag: true })]);
  const server = createServer((request, response) => {
    const { method, url } = request;
    const path = url.split('?', 1)[0];
    const { writeHead } = response;
    response.writeHead = (status, ...rest) => {
      requests.push({ method, path, range: request.headers.range ?? null, status });
      return writeHead.call(response, status, ...rest);
    };
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const missing = () => response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end(`there is no ${path}\n`);
    const found = folders.find(([prefix]) => url.startsWith(prefix));
    if (!found) return missing();
    request.url = url.slice(found[0].length - 1);
    return found[1](request, response, missing);
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
