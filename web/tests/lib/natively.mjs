/** What the program makes, on a software driver. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LAVAPIPE } from './firefox.mjs';
import { folder } from './folder.mjs';

/** The values of an .npy file that the program wrote: float32 in [-1, 1], images one after the other, each by channel. */
function values(path) {
  const file = readFileSync(path);
  const start = 10 + file.readUInt16LE(8);
  const shape = /'shape': \((\d+), ?(\d+), ?(\d+), ?(\d+),?\)/.exec(file.toString('latin1', 0, start)).slice(1).map(Number);
  const [, channels, height, width] = shape;
  const pixels = height * width;
  return Array.from({ length: (file.length - start) / 4 }, (_, i) => {
    // As the package has them: channels last.
    const [image, rest] = [Math.floor(i / (pixels * channels)), i % (pixels * channels)];
    const at = image * pixels * channels + (rest % channels) * pixels + Math.floor(rest / channels);
    return file.readFloatLE(start + 4 * at);
  });
}

/**
 * Runs the program with these arguments, and returns what it prints. Lavapipe computes, unless another driver is given: SwiftShader
 * takes ten times as long to compile, and keeps nothing of it.
 */
export async function program([command, ...args], { adapter, manifest } = LAVAPIPE) {
  const env = {
    ...process.env,
    // The loader's variable has a new name; old loaders know the old one.
    VK_DRIVER_FILES: manifest(),
    VK_ICD_FILENAMES: manifest(),
    NODEVICE_SELECT: '1',
    // No kernels that were measured on this machine: they round otherwise.
    GUIDED_DIFFUSION_CACHE: '',
  };
  return (await promisify(execFile)(folder('target/release/guided-diffusion'), [command, '--adapter', adapter, ...args], { env })).stdout;
}

/** Makes images by `sample` with these arguments, and returns their values. */
export async function natively(args, driver) {
  const out = mkdtempSync(join(tmpdir(), 'images-'));
  try {
    const path = join(out, 'images.npy');
    await program(['sample', ...args, '--out', path], driver);
    return values(path);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}
