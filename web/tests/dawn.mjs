/**
 * What browsers run, on a real GPU without a browser: the conformance suites and the package, by Dawn, which is Chromium's WebGPU, in
 * Node.js. After `make test-web` (or its builds):
 *
 *     npm install --prefix target/dawn webgpu@0.6.2
 *     node web/tests/dawn.mjs [SUITE ...]     networks, classifiers, steps, solvers, ops and samples without an argument
 *
 * It prints each suite's failures, which set the exit code, and how long runs of the built-in models take, medians. The package's worker
 * runs in this thread, and files are read by `fetch`.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { runSuite } from './lib/suite.mjs';

const root = new URL('../../', import.meta.url);
const { create, globals } = await import(new URL('target/dawn/node_modules/webgpu/index.js', root).href);
const read = async (path) => new Uint8Array(await readFile(new URL(path, root)));
const text = async (path) => new TextDecoder().decode(await read(path));
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** What the core and the package expect of a worker's global scope. */
function becomeWorker() {
  Object.assign(globalThis, globals, { self: globalThis, WorkerGlobalScope: class {}, location: { href: root.href } });
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { gpu: create([]), userAgent: 'Node.js' } });
  globalThis.fetch = async (url) => {
    const type = String(url).endsWith('.wasm') ? 'application/wasm' : 'application/octet-stream';
    const bytes = await readFile(fileURLToPath(url));
    return new Response(bytes, { headers: { 'content-type': type, 'content-length': String(bytes.length) } });
  };
  globalThis.Worker = class {
    #worker;
    constructor(url) {
      globalThis.postMessage = (data) => queueMicrotask(() => this.onmessage({ data: structuredClone(data) }));
      this.#worker = import(url);
    }
    postMessage(data) {
      const copy = structuredClone(data);
      void this.#worker.then(() => globalThis.onmessage({ data: copy }));
    }
    terminate() {}
  };
}

/** Runs a suite, prints what it found, and gives the number of failures. */
async function check(conformance, suite) {
  const begin = performance.now();
  const functions = { choose: (name) => conformance.choose(name), run: (i) => conformance.run(i) };
  const { count, failures } = await runSuite(functions, suite);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log([`${suite}: ${count} in ${seconds} s, ${failures.length} failed`, ...failures].join('\n  '));
  return failures.length;
}

/** Prints how long a model's runs take. */
async function time(engine, name, count) {
  const model = await engine.load(new URL(`models/${name}.safetensors`, root), { batch: count });
  const run = async (options) => {
    const begin = performance.now();
    await model.sample({ seed: 1, count, ...options }).result;
    return performance.now() - begin;
  };
  const runs = async (options) => {
    const times = [];
    for (let i = 0; i < 7; i++) times.push(await run(options));
    return median(times);
  };
  const first = await run({});
  const usual = await runs({});
  const [few, many] = [await runs({ sampler: 'euler', steps: 5 }), await runs({ sampler: 'euler', steps: 45 })];
  const step = (many - few) / 40;
  console.log(`${name}, ${count} images: first ${first.toFixed(0)} ms, then ${usual.toFixed(1)} ms; a step of euler ${step.toFixed(2)} ms`);
  await model.dispose();
}

becomeWorker();
const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
if (!adapter) throw new Error('dawn: there is no GPU with a Vulkan, Metal or Direct3D driver');
console.log(adapter.info.description);
const wasm = await import(new URL('target/web-conformance/guided_diffusion_web_conformance.js', root).href);
await wasm.default({ module_or_path: await read('target/web-conformance/guided_diffusion_web_conformance_bg.wasm') });
const { requestSubgroups } = await import(new URL('web/dist/guided-diffusion/worker/subgroups.js', root).href);
const fixtures = 'tests/fixtures';
const conformance = await wasm.Conformance.open(
  requestSubgroups(adapter),
  await text(`${fixtures}/cases.json`),
  await read(`${fixtures}/outputs.safetensors`),
  await read(`${fixtures}/guided.safetensors`),
  await read(`${fixtures}/guided_steps.safetensors`),
  await text(`${fixtures}/solvers.json`),
  await read(`${fixtures}/solvers.safetensors`),
);
const suites = process.argv.length > 2 ? process.argv.slice(2) : ['networks', 'classifiers', 'steps', 'solvers', 'ops', 'samples'];
let failed = 0;
for (const suite of suites) failed += await check(conformance, suite);

const { GuidedDiffusion } = await import(new URL('web/dist/guided-diffusion/index.js', root).href);
const engine = await GuidedDiffusion.create();
for (const [name, count] of [['emoji32', 1], ['emoji32', 16], ['fashion32', 16]]) await time(engine, name, count);
process.exit(failed ? 1 : 0);
