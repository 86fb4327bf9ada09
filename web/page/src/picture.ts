/** A finished image as the page keeps it: its file, its parameters, and how it came about. */
import type { GeneratedImage } from 'guided-diffusion';
import { surface } from './dom.js';

/** Predicted images of one run, in the order of its steps. */
interface Steps {
  /** Steps that were done at each. */
  at: number[];
  /** Percent of noise that the image had before each of them. */
  noise: (number | null)[];
}

/** Those of an image that forms. */
export interface Forming extends Steps {
  frames: ImageData[];
}

/** Those of a finished image. */
interface Trail extends Steps {
  /** A file, since as pixels they would take far more memory: frames row by row, `columns` in each. null without any. */
  film: Blob | null;
  columns: number;
  /** The pixels all the same, of an image that is soon replaced. */
  frames?: ImageData[];
}

export interface Picture {
  /** The PNG, with its parameters as text. */
  blob: Blob;
  pixels: ImageData;
  parameters: Record<string, string>;
  trail: Trail;
  /** Of a stack, it was to be enlarged yet. */
  small?: boolean;
}

/** `brief`: it is soon replaced. */
export async function pictureOf(image: GeneratedImage, { at, noise, frames }: Forming, brief: boolean): Promise<Picture> {
  // Near to a square: browsers bound a canvas's sides.
  const columns = Math.ceil(Math.sqrt(frames.length));
  // Without room for a film, the image is worth keeping all the same.
  const film = frames.length && !brief ? await strip(frames, columns).catch(() => null) : null;
  const trail = film || brief ? { at: [...at], noise: [...noise], film, columns, ...(brief && { frames: [...frames] }) } : { at: [], noise: [], film, columns: 1 };
  return { blob: await image.toBlob(), pixels: image.toImageData(), parameters: image.parameters, trail };
}

/** Bytes that a picture takes, on a canvas too. */
export const bytesOf = ({ blob, pixels, trail }: Picture) => blob.size + 2 * pixels.data.length + (trail.film?.size ?? 0);

/** The frames of a finished image. */
export const framesOf = async ({ film, at, columns, frames }: Trail) => frames ?? (film ? unstrip(film, at.length, columns) : []);

/** The pixels of an image file. */
export async function pixelsOf(blob: Blob): Promise<ImageData> {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  const { width, height } = bitmap;
  const context = surface(width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** Frames on one canvas, row by row, so many in each. */
export async function strip(frames: ImageData[], columns: number): Promise<Blob> {
  const { width = 1, height = 1 } = frames[0] ?? {};
  const context = surface(width * columns, height * Math.ceil(frames.length / columns));
  frames.forEach((frame, k) => context.putImageData(frame, (k % columns) * width, Math.floor(k / columns) * height));
  return context.canvas.convertToBlob({ type: 'image/png' });
}

/** A file of these pixels, each as a square of as many as make the shorter side at least `least`. */
export async function enlarged(pixels: ImageData, least: number): Promise<Blob> {
  const scale = Math.max(1, Math.ceil(least / Math.min(pixels.width, pixels.height)));
  const context = surface(pixels.width * scale, pixels.height * scale);
  context.imageSmoothingEnabled = false;
  const bitmap = await createImageBitmap(pixels);
  context.drawImage(bitmap, 0, 0, context.canvas.width, context.canvas.height);
  bitmap.close();
  return context.canvas.convertToBlob({ type: 'image/png' });
}

/** The frames of such a canvas. */
export async function unstrip(blob: Blob, count: number, columns = 1): Promise<ImageData[]> {
  const whole = await pixelsOf(blob);
  const [width, height] = [whole.width / columns, whole.height / Math.ceil(count / columns)];
  return Array.from({ length: count }, (_, k) => part(whole, (k % columns) * width, Math.floor(k / columns) * height, width, height));
}

/** A part of an image. */
export function part({ data, width: row }: ImageData, left: number, top: number, width: number, height: number): ImageData {
  const out = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * row + left) * 4;
    out.data.set(data.subarray(from, from + width * 4), y * width * 4);
  }
  return out;
}
