// Put before the package's worker by the page tests: what only the worker can reach, kept where a test can ask for it.
// Nothing here changes what the worker does, but for `fail`, which is what WebGPU then reports: 'no-adapter', 'out-of-memory'
// (no room for weights, but for small things), 'no-memory' (no room at all), 'internal' (the driver's compiler breaks down).
self.hook = { devices: [], gpuBytes: 0, buffers: 0, pipelines: 0, memories: [], fail: null };
{
  const { hook } = self;
  const { requestAdapter } = GPU.prototype;
  GPU.prototype.requestAdapter = async function (...options) {
    return hook.fail === 'no-adapter' ? null : requestAdapter.apply(this, options);
  };
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...options) {
    const device = await requestDevice.apply(this, options);
    hook.devices.push(device);
    return device;
  };
  // Bytes of the buffers that were made and not destroyed yet.
  const { createBuffer, createComputePipeline, pushErrorScope, popErrorScope } = GPUDevice.prototype;
  const scopes = [];
  /** What the innermost scope of this kind is to report. */
  const report = (filter, error) => {
    const scope = scopes.findLast((one) => one.filter === filter);
    if (scope) scope.error = error;
  };
  GPUDevice.prototype.createBuffer = function (descriptor) {
    // Even tiny networks (harness.mjs) have larger buffers than that.
    const refused = hook.fail === 'no-memory' || (hook.fail === 'out-of-memory' && descriptor.size > 1e5);
    if (refused) report('out-of-memory', new GPUOutOfMemoryError('no room is left'));
    // A buffer that found no room is invalid, and so is all that uses it.
    const buffer = createBuffer.call(this, refused ? { ...descriptor, usage: 0 } : descriptor);
    const { size } = buffer;
    hook.gpuBytes += size;
    hook.buffers++;
    const destroy = buffer.destroy.bind(buffer);
    let alive = true;
    buffer.destroy = () => {
      if (alive) {
        hook.gpuBytes -= size;
        hook.buffers--;
      }
      alive = false;
      destroy();
    };
    return buffer;
  };
  GPUDevice.prototype.createComputePipeline = function (descriptor) {
    hook.pipelines++;
    if (hook.fail === 'internal') report('internal', new GPUInternalError('the compiler broke down'));
    return createComputePipeline.call(this, descriptor);
  };
  GPUDevice.prototype.pushErrorScope = function (filter) {
    scopes.push({ filter, error: null });
    return pushErrorScope.call(this, filter);
  };
  GPUDevice.prototype.popErrorScope = async function () {
    const scope = scopes.pop();
    const error = await popErrorScope.call(this);
    return scope.error ?? error;
  };
  for (const name of ['instantiate', 'instantiateStreaming']) {
    const original = WebAssembly[name];
    WebAssembly[name] = async (...given) => {
      const made = await original.apply(WebAssembly, given);
      hook.memories.push((made.instance ?? made).exports.memory);
      return made;
    };
  }
  // Not every browser lets a test look into workers: the page asks by this channel.
  const channel = new BroadcastChannel('hook');
  channel.onmessage = () => {
    const { gpuBytes, buffers, pipelines, memories } = hook;
    // A wasm memory never shrinks: its size is its peak.
    channel.postMessage({ gpuBytes, buffers, pipelines, wasm: memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0) });
  };
}
