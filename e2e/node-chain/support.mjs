// What the conformance tests share: where the chain is, and the contract they use.
//
// The chain is started by whoever runs them (`cargo test -p devchain` does) and named in DEVCHAIN_URL.

import { readFileSync } from 'node:fs';

const url = process.env.DEVCHAIN_URL;
if (!url) throw new Error('DEVCHAIN_URL is not set: run these through `cargo test -p devchain`');

export const httpUrl = url;
export const wsUrl = url.replace(/^http/, 'ws');

const artifact = new URL('../../crates/devchain/tests/probe/Probe.json', import.meta.url);
export const probe = JSON.parse(readFileSync(artifact, 'utf8'));

/// The private keys of the well-known development accounts. Each test takes another one, so that they can run together.
export const mnemonic = 'test test test test test test test test test test test junk';
