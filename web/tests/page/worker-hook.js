// Put before the package's worker by the page tests: what only the worker can reach, kept where a test can ask for it.
// Nothing here changes what the worker does, but for `fail`: 'out-of-memory' or 'no-adapter' is what WebGPU then reports.
self.hook = { devices: [], gpuBytes: 0, memories: [], fail: null };
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
  const { createBuffer } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    const { size } = buffer;
    hook.gpuBytes += size;
    const destroy = buffer.destroy.bind(buffer);
    let alive = true;
    buffer.destroy = () => {
      if (alive) hook.gpuBytes -= size;
      alive = false;
      destroy();
    };
    return buffer;
  };
  const { popErrorScope } = GPUDevice.prototype;
  GPUDevice.prototype.popErrorScope = async function () {
    const error = await popErrorScope.call(this);
    return hook.fail === 'out-of-memory' ? new GPUOutOfMemoryError('no room is left, as a test wants it') : error;
  };
  for (const name of ['instantiate', 'instantiateStreaming']) {
    const original = WebAssembly[name];
    WebAssembly[name] = async (...given) => {
      const made = await original.apply(WebAssembly, given);
      hook.memories.push((made.instance ?? made).exports.memory);
      return made;
    };
  }
}
