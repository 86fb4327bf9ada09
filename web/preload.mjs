/**
 * Writes into a built page which modules its main one imports, by themselves or through others, so that the browser asks for all of
 * them at once instead of a level at a time: node web/preload.mjs FOLDER.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';

const folder = process.argv[2];
if (!folder) throw new Error('usage: node web/preload.mjs FOLDER');
const page = join(folder, 'index.html');
const found = new Set();

function follow(module) {
  if (found.has(module)) return;
  found.add(module);
  const code = readFileSync(join(folder, module), 'utf8');
  for (const [, name] of code.matchAll(/^(?:import|export)\s[^'"()=]*\bfrom\s*['"]([^'"]+)['"]/gm)) {
    follow(name === 'guided-diffusion' ? 'guided-diffusion/index.js' : posix.join(posix.dirname(module), name));
  }
}

follow('main.js');
found.delete('main.js');
// After the import map, which must come first; those of an earlier build are replaced.
const links = [...found].map((module) => `  <link rel="modulepreload" href="${module}">\n`).join('');
const html = readFileSync(page, 'utf8').replace(/ *<link rel="modulepreload"[^>]*>\n/g, '');
const main = '  <script type="module" src="main.js"></script>\n';
if (!html.includes(main)) throw new Error(`${page} has no line ${main.trim()}`);
writeFileSync(`${page}.tmp`, html.replace(main, links + main));
renameSync(`${page}.tmp`, page);
console.log(`preload: ${found.size} modules`);
