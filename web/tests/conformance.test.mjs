/**
 * The core in browsers: the shaders of networks' plans are accepted, and the op case table and the golden fixtures give what they
 * must, with the same tolerances as natively. What is run is tests/conformance, as wasm.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { adapterOf } from './lib/adapter.mjs';
import { browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { runSuite } from './lib/suite.mjs';
import { serve } from '../server.mjs';

/** Suites of tests/conformance whose kernels run often, and how much is in each at least: an empty suite would pass. */
const RUN = { samples: 12, steps: 1, solvers: 45 };
/** Those that mostly compile. The last one changes the device, and must stay last. */
const COMPILED = { shaders: 200, ops: 250, networks: 28, classifiers: 5, gpu_plans: 3 };

/** What runs in one browser after the other: for what mostly compiles, Firefox's driver does that in less time. */
const PARTS = {
  chromium: [{ suites: { ...RUN, ...COMPILED } }],
  firefox: [{ suites: RUN }, { suites: COMPILED, optimise: false }],
};

/** Runs in the page: loads the wasm and the fixtures. */
async function open() {
  const fetched = async (name) => {
    const response = await fetch(`/fixtures/${name}`);
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const names = ['cases.json', 'outputs.safetensors', 'guided.safetensors', 'guided_steps.safetensors'];
  const solvers = ['solvers.json', 'solvers.safetensors'];
  const [cases, ...files] = await Promise.all(names.map(fetched));
  const [solverCases, solverOutputs] = await Promise.all(solvers.map(fetched));
  const wasm = await import('/wasm/guided_diffusion_web_conformance.js');
  await wasm.default({ module_or_path: '/wasm/guided_diffusion_web_conformance_bg.wasm' });
  const { requestSubgroups } = await import('/package/worker/subgroups.js');
  const subgroups = requestSubgroups(await navigator.gpu.requestAdapter());
  const text = (bytes) => new TextDecoder().decode(bytes);
  window.conformance = await wasm.Conformance.open(
    subgroups,
    text(cases),
    ...files,
    text(solverCases),
    solverOutputs,
  );
}

/** Runs a suite in the page. */
function run(page, suite) {
  const choose = (name) => page.evaluate((chosen) => window.conformance.choose(chosen), name);
  return runSuite({ choose, run: (i) => page.evaluate((at) => window.conformance.run(at), i) }, suite);
}

describe('conformance', { concurrency: true }, () => {
  for (const { id, name, launch } of browsers()) {
    describe(name, { concurrency: false }, () => {
      for (const part of PARTS[id]) describe(Object.keys(part.suites).join(', '), () => inBrowser(name, launch, part));
    });
  }
});

function inBrowser(name, launch, { suites, ...options }) {
  let [server, browser, page] = [];
  const messages = [];
  before(async () => {
    server = await serve({
      '/': folder('web/conformance/page'),
      '/package/': folder('web/dist/guided-diffusion'),
      '/wasm/': folder('target/web-conformance'),
      '/fixtures/': folder('tests/fixtures'),
    });
    browser = await launch(options);
    page = await browser.newPage();
    page.on('console', (message) => messages.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => messages.push(`uncaught: ${error.message}`));
    await page.goto(`${server.url}/`);
    const adapter = await adapterOf(page);
    console.log(`${name}: version ${browser.version()}, adapter ${adapter.name || '(unnamed)'}`);
    await page.evaluate(open);
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });

  for (const [suite, least] of Object.entries(suites)) {
    test(suite, async () => {
      const start = performance.now();
      if (suite === 'gpu_plans') await page.evaluate(() => window.conformance.assume_gpu());
      const { count, worst, failures } = await run(page, suite);
      assert.ok(count >= least, `only ${count} in ${suite}`);
      const lines = [...worst].sort().map(([kind, error]) => `  ${error.toExponential(1)} ${kind}\n`);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(`${name}: ${suite}: ${count} in ${seconds} s\n${lines.join('')}`);
      assert.deepEqual(failures, []);
    });
  }
  test('nothing is written to the console', () => assert.deepEqual(messages, []));
}
