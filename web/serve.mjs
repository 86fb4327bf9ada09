// Serves a folder for development: node web/serve.mjs [FOLDER (web/dist)] [PORT (8000)].
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { serve } from './server.mjs';

const [folder = fileURLToPath(new URL('dist', import.meta.url)), port = '8000'] = process.argv.slice(2);
try {
  if (process.argv.length > 4 || folder.startsWith('-')) throw new Error('usage: node web/serve.mjs [FOLDER] [PORT]');
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw new Error(`there is no folder ${folder}`);
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) throw new Error(`${port} is no port: give one of 0 to 65535`);
  const { url } = await serve({ '/': folder }, Number(port));
  console.log(`${url}/`);
} catch (error) {
  const taken = `port ${port} is taken by another program: end that, or choose a port: make web PORT=${Number(port) + 1}`;
  const denied = `this user may not listen on port ${port}: choose one above 1023: make web PORT=8000`;
  console.error(`serve: ${{ EADDRINUSE: taken, EACCES: denied }[error.code] ?? error.message}`);
  process.exitCode = 1;
}
