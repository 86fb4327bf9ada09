/**
 * Writes into a built page which modules its main one imports, by themselves or through others, so that the browser asks for all of
 * them at once instead of a level at a time, and leaves out the comments of document and style, as the compiler leaves out the scripts':
 * node web/preload.mjs FOLDER.
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
const html = readFileSync(page, 'utf8').replace(/ *<link rel="modulepreload"[^>]*>\n| *<!--.*?-->\n/gs, '');
const main = '  <script type="module" src="main.js"></script>\n';
if (!html.includes(main)) throw new Error(`${page} has no line ${main.trim()}`);
/** To a temporary file first, so that no half of it is ever there. */
function write(path, text) {
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}

write(page, html.replace(main, links + main));
const style = join(folder, 'style.css');
write(style, readFileSync(style, 'utf8').replace(/ *\/\*.*?\*\/\n?/gs, ''));
console.log(`preload: ${found.size} modules`);
