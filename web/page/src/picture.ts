/** A finished image as the page keeps it: its file, its parameters, and how it came about. */
import type { GeneratedImage } from 'guided-diffusion';

/** Predicted images of one run, in the order of its steps. */
export interface Trail {
  /** Steps that were done at each. */
  at: number[];
  /** Percent of noise that the image had before each of them. */
  noise: (number | null)[];
  frames: ImageData[];
}

export interface Picture {
  /** The PNG, with its parameters as text. */
  blob: Blob;
  pixels: ImageData;
  parameters: Record<string, string>;
  trail: Trail;
}

export async function pictureOf(image: GeneratedImage, trail: Trail): Promise<Picture> {
  return { blob: await image.toBlob(), pixels: image.toImageData(), parameters: image.parameters, trail };
}

/** The pixels of an image file. */
export async function pixelsOf(blob: Blob): Promise<ImageData> {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no canvas');
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Frames beneath each other on one canvas, as film goes: one file for all of a trail. */
export async function strip(frames: ImageData[], across = false): Promise<Blob> {
  const { width = 1, height = 1 } = frames[0] ?? {};
  const canvas = new OffscreenCanvas(across ? width * frames.length : width, across ? height : height * frames.length);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no canvas');
  frames.forEach((frame, k) => context.putImageData(frame, across ? k * width : 0, across ? 0 : k * height));
  return canvas.convertToBlob({ type: 'image/png' });
}

/** The frames of such a strip. */
export async function unstrip(blob: Blob, count: number): Promise<ImageData[]> {
  if (count === 0) return [];
  const { data, width, height } = await pixelsOf(blob);
  const size = (width * height * 4) / count;
  return Array.from({ length: count }, (_, k) => new ImageData(data.slice(k * size, (k + 1) * size), width, height / count));
}
