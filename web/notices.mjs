/**
 * Writes the notices of all that the wasm is made of, which must travel with it: node web/notices.mjs FILE.
 *
 * What Cargo compiles into it is what Cargo says; each crate's own texts are copied. A crate that has none is given the
 * standard text where its licence is MIT, else the build fails. What runs at build time only (procedural macros) is not
 * in the wasm.
 *
 * cargo-about does not replace it: for a crate without a text it copies the licence's template, with "[year] [fullname]" in place of
 * the holder, whom the crate's own metadata name.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CRATE = 'guided-diffusion-web';
const TARGET = 'wasm32-unknown-unknown';
const TEXTS = /^(licen[cs]e|notice|copying|copyright|unlicense)([-._].*)?$/i;

const mit = (holder) => `Copyright (c) ${holder}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

const ROOT = fileURLToPath(new URL('..', import.meta.url));

function cargo(...args) {
  return execFileSync('cargo', [...args, '--locked'], { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 28 });
}

/** Whether one licence of a list may be chosen, and MIT is among them. */
const offersMit = (license) => !/\b(AND|WITH)\b|[()]/.test(license) && license.split(/\s+OR\s+|\//).includes('MIT');

/** The texts that a crate in `folder` asks to be kept. */
function textsOf({ name, license, authors }, folder) {
  const files = readdirSync(folder).filter((file) => TEXTS.test(file) && statSync(join(folder, file)).isFile());
  const chosen = files.filter((file) => /^licen[cs]e[-._]mit/i.test(file) || /^(notice|copyright)/i.test(file));
  const wanted = offersMit(license) && chosen.some((file) => /mit/i.test(file)) ? chosen : files;
  if (wanted.length > 0) return wanted.sort().map((file) => readFileSync(join(folder, file), 'utf8'));
  if (offersMit(license) && authors.length > 0) return [mit(authors.join(', '))];
  throw new Error(`${name} (${license || 'no licence named'}) has no licence text in its package: replace it, or add the text`);
}

/** Text -> who it belongs to. */
export function notices() {
  const tree = cargo('tree', '-p', CRATE, '--target', TARGET, '-e', 'normal,no-proc-macro', '--prefix', 'none', '--format', '{p}');
  const used = new Set(tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' ')));
  const { packages, workspace_members: own } = JSON.parse(
    cargo('metadata', '--format-version', '1', '--filter-platform', TARGET),
  );
  const crates = packages.filter(({ id, name, version }) => !own.includes(id) && used.has(`${name} v${version}`));
  const texts = new Map();
  const add = (title, text) => {
    const plain = text.replace(/\r/g, '').replace(/[ \t]+$/gm, '').replace(/^\n+|\s+$/g, '');
    texts.set(plain, [...(texts.get(plain) ?? []), title]);
  };
  add('guided-diffusion (MIT)', readFileSync(join(ROOT, 'LICENSE'), 'utf8'));
  add('the Rust standard library (MIT OR Apache-2.0)', mit('The Rust Project Contributors'));
  for (const crate of crates) {
    const license = crate.license ?? '';
    for (const text of textsOf({ ...crate, license }, dirname(crate.manifest_path))) {
      add(`${crate.name} ${crate.version} (${license})`, text);
    }
  }
  if (crates.length < 10) throw new Error(`only ${crates.length} crates were found in ${CRATE}: cargo’s answer has changed`);
  return texts;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const parts = [...notices()].map(([text, titles]) => `${titles.join('\n')}\n\n${text}\n`);
  const head = 'The WebAssembly file of guided-diffusion is made of these projects, under their licences.\n';
  writeFileSync(process.argv[2], [head, ...parts].join(`\n${'-'.repeat(80)}\n\n`));
  console.log(`notices: ${process.argv[2]}, ${parts.length} texts`);
}
