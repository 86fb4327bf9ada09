/**
 * Writes a page's public address into its head: PAGE_URL=https://example.org/page/ node web/address.mjs FOLDER. Link previews must
 * name their picture by a whole address, which only who publishes the page knows. Without PAGE_URL nothing is written.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
if (!folder) throw new Error('usage: PAGE_URL=https://example.org/page/ node web/address.mjs FOLDER');
const page = join(folder, 'index.html');
const given = process.env.PAGE_URL;
if (!given) {
  console.log('address: none is given (PAGE_URL), so that link previews show no picture');
} else {
  const address = URL.canParse(given) ? new URL(given) : null;
  if (!/^https?:$/.test(address?.protocol ?? '') || address.search || address.hash) {
    throw new Error(`PAGE_URL=${given} is no address of a page: give one such as https://example.org/page/`);
  }
  if (!address.pathname.endsWith('/')) address.pathname += '/';
  const picture = /<meta property="og:image" content="[^"]*">\n/;
  const html = readFileSync(page, 'utf8').replace(/ *<(?:meta property="og:url"|link rel="canonical")[^>]*>\n/g, '');
  if (!picture.test(html)) throw new Error(`${page} has no picture for link previews`);
  const text = (url) => url.href.replaceAll('&', '&amp;');
  const lines = [
    `<meta property="og:image" content="${text(new URL('preview.png', address))}">`,
    `<meta property="og:url" content="${text(address)}">`,
    `<link rel="canonical" href="${text(address)}">`,
  ];
  writeFileSync(`${page}.tmp`, html.replace(picture, () => `${lines.join('\n  ')}\n`));
  renameSync(`${page}.tmp`, page);
  console.log(`address: ${address}`);
}
