// An application as a user of the package would write it. It shows the adapter, or why there is none: by then the worker
// and the wasm file were found where the bundler put them.
import { GuidedDiffusion } from 'guided-diffusion';

const output = document.querySelector('output');
try {
  const engine = await GuidedDiffusion.create();
  output.value = `adapter: ${engine.adapter.name}`;
  engine.dispose();
} catch (error) {
  output.value = `${error.code}: ${error.message}`;
}
