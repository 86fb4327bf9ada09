/** Subgroups for the core: wgpu has no name yet for this feature of browsers, and asks for none that it cannot name. */

const SUBGROUPS = 'subgroups' as GPUFeatureName;

/** Has this thread's later devices opened with subgroups where an adapter has them, and returns whether `adapter` does. */
export function requestSubgroups(adapter: GPUAdapter): boolean {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (descriptor) {
    const wanted = this.features.has(SUBGROUPS) ? [SUBGROUPS] : [];
    return requestDevice.call(this, { ...descriptor, requiredFeatures: [...(descriptor?.requiredFeatures ?? []), ...wanted] });
  };
  return adapter.features.has(SUBGROUPS);
}
