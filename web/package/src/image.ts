/** Images as the package gives them. */
import type { RawImage } from './protocol.js';
import type { GeneratedImage, Inside } from './types.js';

export class Image implements GeneratedImage {
  readonly width: number;
  readonly height: number;
  readonly index: number;
  readonly label: number | null;
  readonly values: Float32Array;
  readonly noiseLevel: number | null;
  readonly inside: Inside | null;
  readonly parameters: Record<string, string>;
  /** How it was made, for an upsampler that continues it. */
  readonly recipe: string;
  #rgba: Uint8ClampedArray<ArrayBuffer>;
  #png: Uint8Array<ArrayBuffer>;

  constructor(raw: RawImage) {
    this.width = raw.width;
    this.height = raw.height;
    this.index = raw.index;
    this.label = raw.label;
    this.values = raw.values;
    this.noiseLevel = raw.noiseLevel;
    this.inside = raw.inside ?? null;
    this.parameters = JSON.parse(raw.parameters) as Record<string, string>;
    this.recipe = raw.recipe;
    this.#rgba = raw.rgba as Uint8ClampedArray<ArrayBuffer>;
    this.#png = raw.png as Uint8Array<ArrayBuffer>;
  }

  toImageData(): ImageData {
    return new ImageData(this.#rgba.slice(), this.width, this.height);
  }

  toImageBitmap(): Promise<ImageBitmap> {
    return createImageBitmap(this.toImageData());
  }

  toBlob(): Promise<Blob> {
    return Promise.resolve(new Blob([this.#png], { type: 'image/png' }));
  }
}
