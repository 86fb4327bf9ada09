/** What PNG and ZIP files are made of: checksums, and the chunks of an animated PNG. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** The CRC-32 of both formats. */
export function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) crc = (TABLE[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}

function chunk(type: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set(new TextEncoder().encode(type), 4);
  out.set(data, 8);
  view.setUint32(8 + data.length, crc32(out.subarray(4, 8 + data.length)));
  return out;
}

/** The data of a PNG's chunks of one type, one after the other. */
function dataOf(png: Uint8Array, wanted: string): Uint8Array {
  const view = new DataView(png.buffer, png.byteOffset);
  const parts: Uint8Array[] = [];
  for (let at = 8; at + 8 <= png.length; ) {
    const length = view.getUint32(at);
    const type = new TextDecoder().decode(png.subarray(at + 4, at + 8));
    if (type === wanted) parts.push(png.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const out = new Uint8Array(parts.reduce((all, part) => all + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** An animated PNG of PNGs of one size and kind, each shown so many milliseconds, that plays for ever. */
export async function animated(frames: Blob[], milliseconds: number[]): Promise<Blob> {
  const files = await Promise.all(frames.map(async (frame) => new Uint8Array(await frame.arrayBuffer())));
  const [first] = files;
  if (!first) throw new Error('there are no frames');
  const header = dataOf(first, 'IHDR');
  const numbers = (length: number, ...values: [at: number, value: number][]) => {
    const data = new Uint8Array(length);
    for (const [at, value] of values) new DataView(data.buffer).setUint32(at, value);
    return data;
  };
  let sequence = 0;
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk('IHDR', header), chunk('acTL', numbers(8, [0, files.length], [4, 0]))];
  files.forEach((file, k) => {
    const control = numbers(26, [0, sequence++]);
    control.set(header.subarray(0, 8), 4);
    new DataView(control.buffer).setUint16(20, milliseconds[k] ?? 100);
    new DataView(control.buffer).setUint16(22, 1000);
    parts.push(chunk('fcTL', control));
    const pixels = dataOf(file, 'IDAT');
    if (k === 0) return void parts.push(chunk('IDAT', pixels));
    const data = new Uint8Array(4 + pixels.length);
    new DataView(data.buffer).setUint32(0, sequence++);
    data.set(pixels, 4);
    parts.push(chunk('fdAT', data));
  });
  return new Blob([...parts, chunk('IEND', new Uint8Array())], { type: 'image/png' });
}
