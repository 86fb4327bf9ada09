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
  const { createBuffer, popErrorScope } = GPUDevice.prototype;
  let large = false;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const buffer = createBuffer.call(this, descriptor);
    const { size } = buffer;
    hook.gpuBytes += size;
    large ||= size > 1e6;
    const destroy = buffer.destroy.bind(buffer);
    let alive = true;
    buffer.destroy = () => {
      if (alive) hook.gpuBytes -= size;
      alive = false;
      destroy();
    };
    return buffer;
  };
  // The memory is full for weights, not for small things.
  GPUDevice.prototype.popErrorScope = async function () {
    const error = await popErrorScope.call(this);
    const full = hook.fail === 'out-of-memory' && large;
    large = false;
    return full ? new GPUOutOfMemoryError('no room is left') : error;
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
