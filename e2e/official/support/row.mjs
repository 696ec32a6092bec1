// A row of the compatibility matrix is a test with the row's name; docs/compatibility.md is made from them.

import { describe, test } from 'node:test';
import { PATIENCE } from './market.mjs';

/** One row. It may call the CLI several times, and the machine may be busy with a build. */
export const row = (name, body) => test(name, { timeout: 5 * PATIENCE }, body);

/** Rows of which each builds on those before it. Stories go on beside each other. */
export const story = (name, body) => describe(name, { concurrency: 1 }, body);

/** Makes something once, when first asked for; everyone who asks gets the same. */
export function once(make) {
  let made;
  return () => (made ??= make());
}
