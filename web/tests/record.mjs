/**
 * Records the run that the page plays where there is no WebGPU, and whose images it shows until there are some of the visitor's own.
 * After `make web-build`, node web/tests/record.mjs writes web/page/static/recorded.webp (a row of images for each step) and
 * recorded.json.
 */
import { writeFileSync } from 'node:fs';
import { launchFirefox } from './lib/firefox.mjs';
import { folder } from './lib/folder.mjs';
import { openSite } from './lib/site.mjs';

/** Runs in the page. */
async function record() {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  const engine = await GuidedDiffusion.create();
  const classes = Array.from({ length: 12 }, (_, k) => k);
  const model = await engine.load('/models/emoji32.safetensors', { batch: classes.length });
  const run = model.sample({ classes, seed: 7, previewEvery: 1 });
  const kept = [];
  for await (const { step, previews } of run) kept.push({ step, images: previews.map((image) => image.toImageData()) });
  const side = kept[0].images[0].width;
  const canvas = new OffscreenCanvas(side * classes.length, side * kept.length);
  const context = canvas.getContext('2d');
  kept.forEach(({ images }, y) => images.forEach((image, x) => context.putImageData(image, x * side, y * side)));
  const blob = await canvas.convertToBlob({ type: 'image/webp', quality: 0.9 });
  const names = model.info.classNames.slice(0, classes.length);
  engine.dispose();
  return {
    film: [...new Uint8Array(await blob.arrayBuffer())],
    json: { caption: 'Recorded: twelve classes, seed 7', names, steps: kept.map(({ step }) => step) },
  };
}

const site = await openSite(launchFirefox, { '/models/': folder('models') });
try {
  const { film, json } = await site.page.evaluate(record);
  writeFileSync(folder('web/page/static/recorded.webp'), Uint8Array.from(film));
  writeFileSync(folder('web/page/static/recorded.json'), `${JSON.stringify(json)}\n`);
  console.log(`recorded.webp: ${film.length} bytes`);
} finally {
  await site.close();
}
