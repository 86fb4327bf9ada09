// The package's types as TypeScript 5.4 and later read them.
import { GuidedDiffusion, GuidedDiffusionError, type GeneratedImage, sampleStack } from 'guided-diffusion';

export async function use(canvas: CanvasRenderingContext2D): Promise<readonly GeneratedImage[]> {
  const engine = await GuidedDiffusion.create({ signal: AbortSignal.timeout(1000) });
  const model = await engine.load('model.safetensors', { headers: { Authorization: 'Bearer x' } });
  const run = model.sample({ classes: [1], seed: 7n, previewEvery: 2 });
  for await (const { previews } of run) if (previews?.[0]) canvas.putImageData(previews[0].toImageData(), 0, 0);
  const stack = sampleStack(model, model);
  try {
    await stack.result;
  } catch (error) {
    if (error instanceof GuidedDiffusionError && error.code === 'device-lost') throw error.cause;
  }
  await model[Symbol.asyncDispose]();
  return run.images;
}
