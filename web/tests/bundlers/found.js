// Where the bundler finds the worker and the wasm file by itself.
export const options = {};
