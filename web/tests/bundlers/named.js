// Where the package's files were copied beside the bundle and are named.
const file = (path) => new URL(`guided-diffusion/${path}`, document.baseURI);
export const options = { workerUrl: file('worker/worker.js'), wasmUrl: file('wasm/guided_diffusion_web_bg.wasm') };
