// Deals whose tasks are run by the market's own workerpools, in what the official library calls TDX.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import JSZip from 'jszip';
import { TDX, echoProgram, eventually, fresh, library, market, store } from './market.mjs';

/** An example of the repository, as bytes. */
export const example = (path) => readFileSync(new URL(`../../../examples/${path}`, import.meta.url));

/** What an app is registered as: the program is content of the market's IPFS. */
export async function appOf(owner, program = echoProgram()) {
  const multiaddr = `/ipfs/${await store(program)}`;
  const checksum = `0x${createHash('sha256').update(program).digest('hex')}`;
  return { owner, name: fresh('app'), type: 'DOCKER', multiaddr, checksum };
}

/** The cheapest offer of the market's own workerpools for the shortest category that runs TDX. */
export async function offer(query = {}) {
  const own = new Set(market.workerpools.map(({ address }) => address));
  return eventually('an offer for tdx', async () => {
    const { orders } = await library().orderbook.fetchWorkerpoolOrderbook({ category: 0, minTag: TDX, ...query });
    return orders.map(({ order }) => order).find(({ workerpool }) => own.has(workerpool));
  });
}

/** A seller of nothing: somebody's own workerpool in a category of a second, whose tasks nobody will ever run. */
export async function idlePool(iexec, address, category) {
  const { address: workerpool } = await iexec.workerpool.deployWorkerpool({ owner: address, description: fresh('idle') });
  return iexec.order.signWorkerpoolorder(await iexec.order.createWorkerpoolorder({ workerpool, category, volume: 10 }));
}

/** The files of a zip, by name. */
export async function unzip(bytes) {
  const zip = await JSZip.loadAsync(bytes);
  const files = Object.values(zip.files).filter(({ dir }) => !dir);
  return Object.fromEntries(await Promise.all(files.map(async (it) => [it.name, await it.async('string')])));
}
