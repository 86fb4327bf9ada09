/** Classes by name, as the command line finds them (src/cli/classes.rs), where a model's file names its classes. */
import { GuidedDiffusionError } from './errors.js';
import { nearest } from './options.js';
import type { ModelInfo } from './types.js';

/** Names in a message, at most. */
const SHOWN = 12;

/**
 * The number of a class that is given by number or name: whatever its case and punctuation, one of several names ("goldfish" of
 * "goldfish, Carassius auratus"), or a part that only one class has, whole words first.
 */
export function labelOf(asked: number | string, { classes, classNames }: Pick<ModelInfo, 'classes' | 'classNames'>): number {
  if (typeof asked === 'number') {
    if (Number.isInteger(asked) && asked >= 0 && asked < 2 ** 32) return asked;
    throw new GuidedDiffusionError('bad-options', `class ${asked}: give a whole number from 0, or a name`);
  }
  const refuse = (why: string) => new GuidedDiffusionError('bad-options', `class ${JSON.stringify(asked.slice(0, 40))}: ${why}`);
  if (classes === 0) throw refuse('this model was trained without classes; leave it out');
  if (classNames.length === 0) throw refuse(`this model’s classes have no names; give numbers from 0 to ${classes - 1}`);
  const wanted = plain(asked);
  const matches = [
    (name: string) => plain(name) === wanted,
    (name: string) => name.split(',').some((part) => plain(part) === wanted),
    (name: string) => ` ${plain(name)} `.includes(` ${wanted} `),
    (name: string) => plain(name).includes(wanted),
  ];
  for (const match of wanted ? matches : []) {
    const found = classNames.flatMap((name, label) => (match(name) ? [label] : []));
    if (found.length > 1) throw refuse(`it is part of several names: ${shown(found.map((label) => classNames[label] ?? ''))}`);
    if (found[0] !== undefined) return found[0];
  }
  const near = nearest(asked, classNames);
  throw refuse(near ? `no such class; the nearest is ${near}` : `no such class; there are ${shown(classNames)}`);
}

function shown(names: string[]): string {
  return names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? ', ...' : '');
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ').trim();
}
