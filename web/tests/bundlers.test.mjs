/**
 * The package as it is published: a tarball of it is checked, typed against, bundled by those in use, and imported from another
 * origin under a strict policy. Each application runs until the GPU is open: then the worker and the wasm file were found.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { PATIENCE, browsers } from './lib/browsers.mjs';
import { folder } from './lib/folder.mjs';
import { serve } from '../server.mjs';

const HERE = folder('web/tests/bundlers');
const run = promisify(execFile);
const require = createRequire(join(HERE, 'package.json'));
/** A tool of the bundlers' own folder. */
const tool = async (name) => import(pathToFileURL(require.resolve(name)).href);

/** An application in a folder of its own, with the package from the tarball. `found` and `named` are one, with other options. */
function application(name, tarball) {
  const root = mkdtempSync(join(HERE, 'application-'));
  cpSync(join(HERE, name === 'next' ? name : 'plain'), root, { recursive: true });
  if (name !== 'next') cpSync(join(HERE, `${name}.js`), join(root, 'options.js'));
  const own = join(root, 'node_modules/guided-diffusion');
  mkdirSync(own, { recursive: true });
  execFileSync('tar', ['xzf', tarball, '--strip-components=1', '-C', own]);
  writeFileSync(join(root, 'package.json'), '{ "name": "application", "private": true, "type": "module" }\n');
  return { root, own, out: join(root, 'out') };
}

const BUNDLERS = {
  async Vite({ root, out }) {
    const { build } = await tool('vite');
    const worker = { format: 'es' };
    await build({ root, base: './', logLevel: 'error', worker, build: { outDir: out, target: 'es2022' } });
    const files = readdirSync(join(out, 'assets'));
    assert.equal(files.filter((file) => /^worker-.*\.js$/.test(file)).length, 1, `one worker in ${files}`);
    assert.equal(files.filter((file) => /\.wasm$/.test(file)).length, 1, `one wasm file in ${files}`);
  },
  async webpack({ root, out }) {
    const { default: webpack } = await tool('webpack');
    const compiler = webpack({ mode: 'production', context: root, entry: './main.js', output: { path: out, filename: 'main.js' } });
    const stats = await promisify(compiler.run.bind(compiler))();
    assert.deepEqual(stats.toJson({ errors: true, warnings: true }).errors.map(({ message }) => message), []);
    cpSync(join(root, 'index.html'), join(out, 'index.html'));
  },
  async Rollup({ root, own, out }) {
    const [{ rollup }, { default: resolve }] = [await tool('rollup'), await tool('@rollup/plugin-node-resolve')];
    const bundle = await rollup({ input: join(root, 'main.js'), plugins: [resolve()] });
    await bundle.write({ dir: out, format: 'es' });
    copied({ root, own, out });
  },
  async esbuild({ root, own, out }) {
    const { default: esbuild } = await tool('esbuild');
    await esbuild.build({ absWorkingDir: root, entryPoints: ['main.js'], bundle: true, format: 'esm', outdir: out, logLevel: 'error' });
    copied({ root, own, out });
  },
  async 'Next.js'({ root }) {
    const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1' };
    await run(join(HERE, 'node_modules/.bin/next'), ['build', root], { env, cwd: root });
  },
};

/** The files of the package beside a bundle that names them. */
function copied({ root, own, out }) {
  cpSync(join(root, 'index.html'), join(out, 'index.html'));
  cpSync(join(own, 'dist'), join(out, 'guided-diffusion'), { recursive: true });
}

describe('the tarball', () => {
  let [browser, tarball, tried] = [];
  const applications = [];
  const made = (name) => {
    const one = application(name, tarball);
    applications.push(one.root);
    return one;
  };
  before(async () => {
    execFileSync('scripts/npm-install.sh', ['web/tests/bundlers'], { cwd: folder('.'), stdio: 'inherit' });
    // A folder here would be in the way of an npm that looks for workspaces.
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', HERE], { cwd: folder('web/package') });
    tarball = join(HERE, JSON.parse(stdout)[0].filename);
    tried = made('found').own;
    [{ launch: browser }] = browsers();
    browser = await browser();
  });
  after(async () => {
    await browser?.close();
    for (const root of [...applications, tarball]) if (root) rmSync(root, { recursive: true, force: true });
  });

  /** What the application at an address comes to. */
  async function outcome(address) {
    const page = await browser.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    try {
      await page.goto(address);
      await page.waitForFunction(() => document.querySelector('output').textContent !== 'starting', null, { timeout: PATIENCE });
      const text = await page.evaluate(() => document.querySelector('output').textContent);
      assert.match(text, /^adapter: /, errors.join('\n'));
      return text;
    } catch (error) {
      throw new Error(`${error.message}\n${errors.join('\n')}`);
    } finally {
      await page.close();
    }
  }

  test('publint finds nothing', async () => {
    const { publint } = await tool('publint');
    const { messages } = await publint({ pkgDir: tried, strict: true });
    // Where the project is hosted is not for the package to say.
    assert.deepEqual(messages.map(({ code, path }) => `${code} at ${path.join('.')}`), []);
  });

  test('the publishing workflow says where the project is, and publint finds nothing then either', async () => {
    const workflow = readFileSync(folder('.github/workflows/publish.yml'), 'utf8');
    const command = /run: >\n((?: {10}.*\n)+)/.exec(workflow)[1].replace(/\s+/g, ' ').trim();
    const { own } = made('found');
    const env = { ...process.env, GITHUB_SERVER_URL: 'https://example.org', GITHUB_REPOSITORY: 'someone/project' };
    await run('bash', ['-euc', command], { cwd: own, env });
    const { repository, homepage, bugs } = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'));
    assert.deepEqual(repository, { type: 'git', url: 'git+https://example.org/someone/project.git', directory: 'web/package' });
    assert.deepEqual([homepage, bugs], ['https://example.org/someone/project#readme', { url: 'https://example.org/someone/project/issues' }]);
    const { publint } = await tool('publint');
    const { messages } = await publint({ pkgDir: own, strict: true });
    assert.deepEqual(messages.map(({ code, path }) => `${code} at ${path.join('.')}`), []);
  });

  test('are-the-types-wrong finds nothing', async () => {
    const attw = join(HERE, 'node_modules/.bin/attw');
    // It is a module for browsers: what it is to `require` and to TypeScript's oldest resolution does not matter.
    const how = ['--profile', 'esm-only', '--exclude-entrypoints', './guided_diffusion_web_bg.wasm', '--format', 'ascii'];
    const failed = await run(attw, [tarball, ...how]).catch((error) => error);
    assert.ok(!(failed instanceof Error), failed.stdout);
  });

  for (const version of ['typescript-5-4', 'typescript']) {
    test(`its types hold under ${version}`, async () => {
      const { root } = made('found');
      cpSync(join(HERE, 'use.ts'), join(root, 'use.ts'));
      // The README's first example, as it stands.
      const [, example] = /```js\n(.*?)```/s.exec(readFileSync(folder('web/package/README.md'), 'utf8'));
      writeFileSync(join(root, 'readme.ts'), example);
      const tsc = join(HERE, 'node_modules', version, 'bin/tsc');
      const compilerOptions = {
        strict: true,
        noUncheckedIndexedAccess: true,
        noEmit: true,
        target: 'es2022',
        module: 'es2022',
        moduleResolution: 'bundler',
        lib: ['es2022', 'dom', 'dom.iterable'],
        types: [],
      };
      writeFileSync(join(root, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts', 'readme.ts'] }));
      const { stdout } = await run(process.execPath, [tsc], { cwd: root }).catch((error) => error);
      assert.equal(stdout, '');
    });
  }

  for (const [name, build] of Object.entries(BUNDLERS)) {
    test(`an application that ${name} bundles runs`, async (t) => {
      const one = made(name === 'Next.js' ? 'next' : ['Rollup', 'esbuild'].includes(name) ? 'named' : 'found');
      await build(one);
      // Next.js asks for its files from the root.
      const place = name === 'Next.js' ? '/' : '/application/';
      const server = await serve({ [place]: one.out });
      t.after(() => server.close());
      await outcome(server.url + place);
    });
  }

  test('an application that Vite serves for development runs', async (t) => {
    const { createServer } = await tool('vite');
    const { root } = made('found');
    const server = await createServer({
      root,
      logLevel: 'error',
      server: { port: 0, host: '127.0.0.1' },
      optimizeDeps: { exclude: ['guided-diffusion'] },
    });
    await server.listen();
    t.after(() => server.close());
    await outcome(server.resolvedUrls.local[0]);
  });

  test('a page of another origin imports it, under a strict policy and without isolation', async (t) => {
    const [host, site] = [made('found'), made('found')];
    const cdn = await serve({ '/': join(host.own, 'dist') }, 0, { 'Access-Control-Allow-Origin': '*' });
    t.after(() => cdn.close());
    writeFileSync(
      join(site.root, 'main.js'),
      `import { GuidedDiffusion } from '${cdn.url}/index.js';
       const output = document.querySelector('output');
       GuidedDiffusion.create().then(
         ({ adapter }) => (output.value = 'adapter: ' + adapter.name + ', isolated: ' + crossOriginIsolated),
         (error) => (output.value = error.code + ': ' + error.message),
       );`,
    );
    // As the README states it.
    const policy = [
      "default-src 'none'",
      `script-src 'self' 'wasm-unsafe-eval' ${cdn.url}`,
      `worker-src blob: ${cdn.url}`,
      `connect-src 'self' ${cdn.url}`,
      'img-src data:',
    ].join('; ');
    const server = await serve({ '/': site.root }, 0, { 'Content-Security-Policy': policy });
    t.after(() => server.close());
    assert.match(await outcome(`${server.url}/`), /isolated: false$/);
  });
});
