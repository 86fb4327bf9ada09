// An application as a user of the package would write it, where the bundler finds the worker and the wasm file. It shows the
// adapter, or why there is none: by then both were found where the bundler put them.
import { GuidedDiffusion } from 'guided-diffusion';

const output = document.querySelector('output');
GuidedDiffusion.create().then(
  (engine) => {
    output.value = `adapter: ${engine.adapter.name}`;
    engine.dispose();
  },
  (error) => (output.value = `${error.code}: ${error.message}`),
);
