/**
 * What the WebGPU adapter of an open page says of itself (Firefox: nothing but features and limits).
 *
 * Fails without one: some ways to drive a browser switch WebGPU off silently, and a test that cannot run has failed.
 */
export async function adapterOf(page) {
  const found = await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return null;
    const { vendor, architecture, description } = adapter.info;
    return {
      name: [vendor, architecture, description].filter(Boolean).join(' '),
      features: [...adapter.features].sort(),
      maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize,
    };
  });
  if (!found) throw new Error(`the browser at ${page.url()} has no WebGPU adapter`);
  return found;
}
