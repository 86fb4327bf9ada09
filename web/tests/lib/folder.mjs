/** Where things are. */
import { fileURLToPath } from 'node:url';

/** A path of the repository, absolute. */
export const folder = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
