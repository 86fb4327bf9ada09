// An application as a user of the package would write it. It shows the adapter, or why there is none: by then the worker and
// the wasm file were found.
import { GuidedDiffusion } from 'guided-diffusion';
import { options } from './options.js';

const output = document.querySelector('output');
GuidedDiffusion.create(options).then(
  (engine) => {
    output.value = `adapter: ${engine.adapter.name}`;
    engine.dispose();
  },
  (error) => (output.value = `${error.code}: ${error.message}`),
);
