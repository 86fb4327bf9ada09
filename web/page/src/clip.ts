/** Frames as a WebM clip. The browser's recorder writes it, in the time that the clip takes to play. */
import { surface } from './dom.js';
import { wait } from './plain.js';

const TYPES = ['video/webm;codecs=vp9', 'video/webm;codecs=vp8', 'video/webm'];

/** What this browser can record; undefined where it cannot. */
const type =
  typeof MediaRecorder === 'undefined' || !('captureStream' in HTMLCanvasElement.prototype)
    ? undefined
    : TYPES.find((one) => MediaRecorder.isTypeSupported(one));

export const canClip = type !== undefined;

/** Pixels of a clip's longer side, at least: players blur small ones. */
const SIDE = 512;

/** Milliseconds that a frame of a moving picture is shown. */
export const FRAME = 120;

/** Records frames of one size, each shown so many milliseconds. */
export async function clip(frames: ImageData[], milliseconds: number[], say: (done: number) => void): Promise<Blob> {
  const [first] = frames;
  if (!first || !type) throw new Error('this browser records no clips');
  const scale = Math.max(1, Math.ceil(SIDE / Math.max(first.width, first.height)));
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [first.width * scale, first.height * scale];
  const context = canvas.getContext('2d');
  if (!context) throw new Error('this browser gives no canvas');
  context.imageSmoothingEnabled = false;
  const small = surface(first.width, first.height);
  const draw = (frame: ImageData) => {
    small.putImageData(frame, 0, 0);
    context.drawImage(small.canvas, 0, 0, canvas.width, canvas.height);
  };
  draw(first);
  const stream = canvas.captureStream();
  const recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 8e6 });
  const parts: Blob[] = [];
  const stopped = new Promise<void>((resolve, reject) => {
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => resolve();
    recorder.onerror = () => reject(new Error('the browser’s recorder failed'));
  });
  recorder.start();
  for (const [k, frame] of frames.entries()) {
    draw(frame);
    say(k + 1);
    await wait(milliseconds[k] ?? 100);
  }
  // A picture that does not change is no frame: the last one is drawn again to end the clip.
  draw(frames.at(-1) ?? first);
  recorder.stop();
  await stopped;
  for (const track of stream.getTracks()) track.stop();
  return new Blob(parts, { type: 'video/webm' });
}
