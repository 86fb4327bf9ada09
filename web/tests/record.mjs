/**
 * Records the run that the page plays where there is no WebGPU, after `make web-build`: node web/tests/record.mjs writes
 * web/page/static/recorded.png (a row of images for each step) and recorded.json.
 */
import { writeFileSync } from 'node:fs';
import { launchFirefox } from './lib/firefox.mjs';
import { folder } from './lib/folder.mjs';
import { openSite } from './lib/site.mjs';

/** Runs in the page. */
async function record() {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  const engine = await GuidedDiffusion.create();
  const model = await engine.load('/models/fashion32.safetensors', { batch: 10 });
  const run = model.sample({ count: 10, steps: 16, seed: 7, previewEvery: 1 });
  const kept = [];
  for await (const { step, previews } of run) kept.push({ step, images: previews.map((image) => image.toImageData()) });
  const side = kept[0].images[0].width;
  const canvas = new OffscreenCanvas(side * 10, side * kept.length);
  const context = canvas.getContext('2d');
  kept.forEach(({ images }, y) => images.forEach((image, x) => context.putImageData(image, x * side, y * side)));
  const blob = await canvas.convertToBlob({ type: 'image/png' });
  const { classNames } = model.info;
  engine.dispose();
  return {
    png: [...new Uint8Array(await blob.arrayBuffer())],
    json: { caption: 'Recorded: ten classes, seed 7', names: classNames, steps: kept.map(({ step }) => step) },
  };
}

const site = await openSite(launchFirefox, { '/models/': folder('models') });
try {
  const { png, json } = await site.page.evaluate(record);
  writeFileSync(folder('web/page/static/recorded.png'), Uint8Array.from(png));
  writeFileSync(folder('web/page/static/recorded.json'), `${JSON.stringify(json)}\n`);
  console.log(`recorded.png: ${png.length} bytes`);
} finally {
  await site.close();
}
