/** A load in a page, for tests of where a model's bytes come from. */

/**
 * Runs in the page: loads, and returns the outcome and the bytes that were counted. `stop`: abort at so many bytes, or, below
 * 0, after so many milliseconds. `options.response` gives a Response, `options.own` the page's own fetch with these headers, and
 * `options.cut` what is asked for from so many bytes on: `{ url, at }`.
 */
export async function load([url, options = {}, stop = Infinity]) {
  const { GuidedDiffusion } = await import('/guided-diffusion/index.js');
  window.engine ??= await GuidedDiffusion.create(window.engineOptions ?? {});
  const control = new AbortController();
  if (stop < 0) setTimeout(() => control.abort(), -stop);
  const { response, own, cut, ...rest } = options;
  let last = null;
  const from = new Set();
  const onProgress = (progress) => {
    last = progress;
    from.add(progress.from);
    if (stop >= 0 && progress.loaded >= stop) control.abort();
    if (cut && progress.loaded >= cut.at) void fetch(cut.url, { mode: 'no-cors' });
  };
  if (own) rest.fetch = (address, { headers, signal }) => fetch(address, { headers: { ...Object.fromEntries(headers), ...own }, signal });
  try {
    const source = response ? await fetch(url) : url;
    const model = await window.engine.load(source, { ...rest, signal: control.signal, onProgress });
    const { sha256, kept } = model.info;
    const found = { sha256: sha256.model, kept: kept?.model, last, from: [...from] };
    await model.dispose();
    return found;
  } catch (error) {
    return { code: error.name === 'AbortError' ? error.name : error.code, message: error.message, last };
  }
}

export const stored = (page) => page.evaluate(() => window.engine.stored());

/** Deletes all that the engine of the page lists. */
export const deleteAll = (page) =>
  page.evaluate(async () => {
    for (const { url } of (await window.engine?.stored()) ?? []) await window.engine.deleteStored(url);
  });

/** The names of the files in the package's folder. */
export const kept = (page) =>
  page.evaluate(async () => {
    const at = await (await navigator.storage.getDirectory()).getDirectoryHandle('guided-diffusion', { create: true });
    const names = [];
    for await (const name of at.keys()) names.push(name);
    return names.sort();
  });

/** Runs in the page: changes the one stored file: `at` a byte whose lowest bit is flipped, `length` what is left of it. */
export async function damage({ at, length }) {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle('guided-diffusion');
  for await (const [name, handle] of folder.entries()) {
    if (!name.endsWith('.bin')) continue;
    const writer = await handle.createWritable({ keepExistingData: true });
    if (at !== undefined) {
      const bytes = new Uint8Array(await (await handle.getFile()).slice(at, at + 1).arrayBuffer());
      await writer.write({ type: 'write', position: at, data: Uint8Array.of(bytes[0] ^ 1) });
    }
    if (length !== undefined) await writer.truncate(length);
    await writer.close();
  }
}
