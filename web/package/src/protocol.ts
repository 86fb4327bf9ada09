/** The messages between the main thread and the worker, all of them. */
import type { Settings } from './generated/settings.js';
import type { AdapterInfo, Bits, ErrorCode, Inside, LoadOptions, LoadProgress, ModelInfo, StoredModel, TuneProgress, TuneResult } from './types.js';

/** An image as it crosses: its buffers, none of which is shared, are transferred. */
export interface RawImage {
  width: number;
  height: number;
  index: number;
  label: number | null;
  values: Float32Array;
  rgba: Uint8ClampedArray;
  /** The image as a PNG file. */
  png: Uint8Array;
  /** The parameters as JSON, all values texts. */
  parameters: string;
  /** How the image was made, as JSON that only the core reads: an upsampler continues it. */
  recipe: string;
  noiseLevel: number | null;
  /** What a preview's step worked with. */
  inside?: Inside;
}

/** A file to read. A response's body is transferred. */
export type RawSource =
  | { kind: 'url'; url: string }
  | { kind: 'blob'; blob: Blob; name: string }
  | { kind: 'stream'; stream: ReadableStream<Uint8Array>; name: string; length: number | null };

interface RawLoadOptions extends Pick<LoadOptions, 'batch' | 'precision' | 'lowResolution' | 'size' | 'flags' | 'cache' | 'sha256'> {
  /** For requests to URLs. */
  headers: [string, string][];
  /** Requests are made by the page's own function, on the main thread. */
  fetched: boolean;
}

/** A response of the page's own `fetch`; its body is transferred. */
export interface RawResponse {
  status: number;
  statusText: string;
  headers: [string, string][];
  body: ReadableStream<Uint8Array> | Blob | null;
}

/** Images to enlarge. */
export interface RawInput {
  width: number;
  height: number;
  rgba: Uint8ClampedArray;
  label: number | null;
  recipe: string | null;
}

/** A picture as RGBA, or a mask as one byte per pixel. */
export interface RawPicture {
  width: number;
  height: number;
  data: Uint8Array | Uint8ClampedArray;
}

export interface RawSampleOptions {
  init: RawPicture | null;
  mask: RawPicture | null;
  fit: 'crop' | 'pad' | null;
  noise: Float32Array | null;
  count?: number;
  classes?: number[];
  firstIndex: number;
  previewEvery: number;
  inside: boolean;
  settings: Settings;
}

/** The calls, by name: what they take and what they answer. */
export interface Calls {
  open: { take: { lowPower: boolean; wasmUrl: string | null }; answer: AdapterInfo };
  load: {
    take: { model: RawSource; classifier: RawSource | null; options: RawLoadOptions };
    answer: { handle: number; info: ModelInfo };
  };
  sample: {
    take: { handle: number; options: RawSampleOptions; input: RawInput[] | null };
    /** All images came as events. */
    answer: null;
  };
  bits: {
    take: { handle: number; picture: RawPicture; label: number | null; fit: 'crop' | 'pad' | null; settings: Settings };
    answer: Bits;
  };
  tune: { take: { handle: number; budgetMs: number | null }; answer: TuneResult };
  disposeModel: { take: { handle: number }; answer: null };
  stored: { take: null; answer: StoredModel[] };
  deleteStored: { take: { url: string }; answer: null };
  deleteTuning: { take: null; answer: null };
}

export type CallName = keyof Calls;

/** From the main thread. */
export type Request =
  | { [Name in CallName]: { id: number; call: Name; take: Calls[Name]['take'] } }[CallName]
  /** Stops the call of that number; it then fails with an `AbortError`. */
  | { id: number; call: 'cancel' }
  /** Answers request `request` of that call, an event; a text says why there is no response. */
  | { id: number; call: 'fetched'; request: number; response: RawResponse | string };

/** What a call reports while it is under way. */
export type Event =
  | { kind: 'fetch'; request: number; url: string; headers: [string, string][] }
  | { kind: 'progress'; progress: LoadProgress }
  | { kind: 'step'; step: number; steps: number; imagesDone: number; images: number; previews: RawImage[] | null }
  | { kind: 'images'; images: RawImage[] }
  | { kind: 'tuning'; progress: TuneProgress };

export interface RawError {
  name: string;
  code: ErrorCode;
  message: string;
  cause?: Error;
}

/** From the worker. `lost` is of no call: the device is gone. */
export type Reply =
  | { id: number; event: Event }
  | { id: number; answer: Calls[CallName]['answer'] }
  | { id: number; error: RawError }
  | { lost: string };
