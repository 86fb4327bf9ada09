/**
 * Times us beside onnxruntime-web in one Chromium, and beside burn on one native driver, in alternation on one machine:
 * only the ratios mean something. `make bench-peers` prepares what it needs and runs it.
 *
 *     node bench.mjs FOLDER     small.onnx and small.safetensors (export.py)
 *
 * BURN and OURS name the programs, LAVAPIPE the driver's manifest: burn takes the first CPU adapter that it sees, so it
 * must see no other.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { launchChromium } from '../../web/tests/lib/chromium.mjs';
import { serve } from '../../web/server.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);
const ROUNDS = 3;
const STEPS = 10; // of our run in the browser: forwards, each with its sampler's step
const GFLOP = 0.999; // one forward of `small`
const models = process.argv[2];
const { BURN, OURS, LAVAPIPE } = process.env;
const NATIVE = 'llvmpipe';
if (!models || !BURN || !OURS || !LAVAPIPE) {
  throw new Error('usage: BURN=PROGRAM OURS=PROGRAM LAVAPIPE=MANIFEST node bench.mjs FOLDER');
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);
const rate = (value) => `${value.toFixed(2)} GFLOP/s`;

/** What our program reports with --json, as an object. */
const ours = async (...args) => JSON.parse((await run(OURS, [...args, '--json'])).stdout);

async function browser() {
  const server = await serve({
    '/': here('.'),
    '/ort/': here('node_modules/onnxruntime-web/dist'),
    '/package/': here('../../web/dist/guided-diffusion'),
    '/models/': models,
  });
  const chromium = await launchChromium();
  try {
    const page = await chromium.newPage();
    page.on('pageerror', (error) => console.error(error));
    const [theirs, mine, native] = [[], [], []];
    await page.goto(`${server.url}/ort.html`);
    await page.waitForFunction(() => window.ready);
    await page.evaluate(() => window.load('/models/small.onnx'));
    await page.evaluate(() => window.forward()); // compiles its kernels
    const other = await chromium.newPage();
    await other.goto(`${server.url}/ours.html`);
    await other.waitForFunction(() => window.ready);
    await other.evaluate(() => window.load('/models/small.safetensors'));
    await other.evaluate((steps) => window.forwards(steps), STEPS);
    for (let round = 0; round < ROUNDS; round += 1) {
      theirs.push(await page.evaluate(() => window.forward()));
      mine.push(await other.evaluate((steps) => window.forwards(steps), STEPS));
      native.push((await ours('bench', '--model', `${models}/small.safetensors`, '--batch', '1', '--adapter', 'SwiftShader')).ms);
    }
    const [t, m, n] = [theirs, mine, native].map((times) => GFLOP / (median(times) / 1000));
    row('`small`, batch 1, Chromium', 'onnxruntime-web, the same browser', rate(m), rate(t), (m / t).toFixed(2));
    row('`small`, batch 1, Chromium', 'ourselves, native SwiftShader', rate(m), rate(n), (m / n).toFixed(2));
  } finally {
    await chromium.close();
    await server.close();
  }
}

async function native() {
  const rates = new Map();
  const note = (op, who, gflops) => {
    if (!rates.has(op)) rates.set(op, { burn: [], ours: [] });
    rates.get(op)[who].push(gflops);
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const { stdout } = await run(BURN, {
      env: { ...process.env, VK_DRIVER_FILES: LAVAPIPE, VK_ICD_FILENAMES: LAVAPIPE, CUBECL_WGPU_DEFAULT_DEVICE: 'Cpu' },
    });
    const theirs = stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
    for (const { op, gflops } of theirs) {
      note(op, 'burn', gflops);
      note(op, 'ours', (await ours('bench', '--op', op, '--adapter', NATIVE)).kernels[0].gflops);
    }
  }
  for (const [op, { burn, ours: mine }] of rates) {
    const [m, b] = [median(mine), median(burn)];
    row(`${op}, ${NATIVE}`, 'burn, wgpu backend', rate(m), rate(b), (m / b).toFixed(2));
  }
}

row('work', 'against', 'ours', 'theirs', 'ratio');
row('---', '---', '---', '---', '---');
await browser();
await native();
