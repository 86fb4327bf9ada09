/**
 * Writes into a built page's service worker what it keeps, and a hash of it: node web/precache.mjs FOLDER. Models are left out:
 * the package keeps those.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

const folder = process.argv[2];
if (!folder) throw new Error('usage: node web/precache.mjs FOLDER');
const worker = join(folder, 'sw.js');
const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)).split(sep).join('/'))
  .filter((path) => !path.startsWith('models/') && !path.endsWith('.d.ts') && path !== 'sw.js' && !path.endsWith('.tmp'))
  .sort();
// Of a folder that was built before, the worker has its two lines already.
const code = readFileSync(worker, 'utf8').replace(/^const (BUILD|FILES) = .*;\n/gm, '');
const hash = createHash('sha256').update(code);
for (const file of files) hash.update(`${file}\n`).update(readFileSync(join(folder, file)));
const lines = `const BUILD = ${JSON.stringify(hash.digest('hex').slice(0, 16))};\nconst FILES = ${JSON.stringify(files)};\n`;
writeFileSync(`${worker}.tmp`, lines + code);
renameSync(`${worker}.tmp`, worker);
console.log(`precache: ${files.length} files`);
