/** Several files as one ZIP file, stored as they are: PNGs are compressed already. */
import { crc32 } from './png.js';

export async function zip(files: { name: string; blob: Blob }[]): Promise<Blob> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const directory: Uint8Array<ArrayBuffer>[] = [];
  let at = 0;
  for (const { name, blob } of files) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const path = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, stored, the first day of the format's time; then checksum, sizes and the name's length.
    const common = [20, 0, 0, 8, 0, 0, 0, 0, 33, 0];
    const numbers = new Uint8Array(16);
    const view = new DataView(numbers.buffer);
    view.setUint32(0, crc32(bytes), true);
    view.setUint32(4, bytes.length, true);
    view.setUint32(8, bytes.length, true);
    view.setUint16(12, path.length, true);
    parts.push(Uint8Array.of(80, 75, 3, 4, ...common, ...numbers, ...path), bytes);
    const place = new Uint8Array(4);
    new DataView(place.buffer).setUint32(0, at, true);
    directory.push(Uint8Array.of(80, 75, 1, 2, 20, 0, ...common, ...numbers, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...place, ...path));
    at += 30 + path.length + bytes.length;
  }
  const end = new Uint8Array(22);
  const view = new DataView(end.buffer);
  view.setUint32(0, 0x06054b50, true);
  view.setUint16(8, files.length, true);
  view.setUint16(10, files.length, true);
  view.setUint32(12, directory.reduce((all, { length }) => all + length, 0), true);
  view.setUint32(16, at, true);
  return new Blob([...parts, ...directory, end], { type: 'application/zip' });
}
