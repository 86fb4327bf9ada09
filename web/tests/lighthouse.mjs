/**
 * Lighthouse on the built page, as a phone and as a desktop, after `make web-build`:
 *
 *     node web/tests/lighthouse.mjs [RUNS]     3 without an argument; the median of each figure counts
 *
 * It ends with an error where a category has less than 95. The page is served as static hosts do it: compressed, for ten minutes
 * of cache. Lighthouse comes from npm at its first use. A loaded machine makes tasks look long: beside the scores stands Lighthouse's
 * own measure of this machine (benchmarkIndex; a desktop has 1500 and more), whose phone profile slows the processor down four times.
 * The reports themselves are written to target/lighthouse.
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import sirv from 'sirv';
import { CHROMIUM, FLAGS } from './lib/chromium.mjs';
import { folder } from './lib/folder.mjs';

const RUNS = Number(process.argv[2] ?? 3);
const LEAST = 95;
const PACKAGE = 'lighthouse@12.8.2';
const PROFILES = { phone: ['--form-factor=mobile'], desktop: ['--preset=desktop'] };

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Serves a copy of the page with compressed files beside the others. */
async function host() {
  const place = mkdtempSync(join(tmpdir(), 'lighthouse-'));
  cpSync(folder('web/dist'), place, { recursive: true });
  for (const entry of readdirSync(place, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    if (!/\.(html|js|css|svg|json|wasm|txt|webmanifest)$/.test(entry.name)) continue;
    const bytes = readFileSync(path);
    writeFileSync(`${path}.gz`, gzipSync(bytes));
    writeFileSync(`${path}.br`, brotliCompressSync(bytes));
  }
  const server = createServer(sirv(place, { gzip: true, brotli: true, etag: true, maxAge: 600 }));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
    rmSync(place, { recursive: true });
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

async function report(url, flags) {
  const chrome = ['--headless=new', ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), ...FLAGS].join(' ');
  const args = ['--yes', PACKAGE, url, '--output=json', '--quiet', '--disable-full-page-screenshot', `--chrome-flags=${chrome}`, ...flags];
  const env = { ...process.env, CHROME_PATH: CHROMIUM };
  const { stdout } = await promisify(execFile)('npx', args, { env, cwd: tmpdir(), maxBuffer: 1 << 28 }).catch(({ stderr }) => {
    throw new Error(`lighthouse: ${stderr}`);
  });
  return JSON.parse(stdout);
}

const out = folder('target/lighthouse');
mkdirSync(out, { recursive: true });
const { url, close } = await host();
try {
  for (const [profile, flags] of Object.entries(PROFILES)) {
    const reports = [];
    for (let run = 0; run < RUNS; run++) {
      reports.push(await report(url, flags));
      writeFileSync(join(out, `${profile}-${run}.json`), JSON.stringify(reports.at(-1)));
    }
    const of = (value) => median(reports.map(value));
    const scores = Object.values(reports[0].categories).map(({ id, title }) => [title, of(({ categories }) => Math.round(100 * categories[id].score))]);
    const audit = (name) => of(({ audits }) => audits[name].numericValue ?? 0);
    console.log(`${profile}: ${scores.map((pair) => pair.join(' ')).join(', ')}`);
    console.log(
      `  first paint ${Math.round(audit('first-contentful-paint'))} ms, largest ${Math.round(audit('largest-contentful-paint'))} ms, ` +
        `blocked ${Math.round(audit('total-blocking-time'))} ms, speed index ${Math.round(audit('speed-index'))} ms, ` +
        `shift ${audit('cumulative-layout-shift').toFixed(3)}, benchmarkIndex ${Math.round(of(({ environment }) => environment.benchmarkIndex))}`,
    );
    const poor = Object.values(reports[0].audits).filter(({ id, score }) => score !== null && score < 0.9 && !id.endsWith('-insight'));
    for (const { id, score, displayValue } of poor) console.log(`  ${id}: ${score} ${displayValue ?? ''}`);
    if (scores.some(([, score]) => score < LEAST)) process.exitCode = 1;
  }
} finally {
  close();
}
