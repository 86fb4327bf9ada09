// The same, where the package's files were copied beside the bundle and are named.
import { GuidedDiffusion } from 'guided-diffusion';

const output = document.querySelector('output');
const file = (path) => new URL(`guided-diffusion/${path}`, document.baseURI);
GuidedDiffusion.create({ workerUrl: file('worker/worker.js'), wasmUrl: file('wasm/guided_diffusion_web_bg.wasm') }).then(
  (engine) => {
    output.value = `adapter: ${engine.adapter.name}`;
    engine.dispose();
  },
  (error) => (output.value = `${error.code}: ${error.message}`),
);
