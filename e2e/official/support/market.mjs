// The market under test and what every test needs of it: wallets with money, the official library, the development keys.
//
// The market is started by whoever runs the suite (`cargo test -p e2e official` does), which names in
//   OFFICIAL_UP     a file with what `gristmill up --json` printed
//   OFFICIAL_CHAIN  a chain.json written by `gristmill up --chain-json`
//   OFFICIAL_ECHO   a WebAssembly program that prints its arguments and its environment
//   OFFICIAL_READ   one that prints the inputs that its arguments name

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Contract, HDNodeWallet, JsonRpcProvider, Mnemonic, Wallet, parseEther } from 'ethers';
import { IExec, utils } from 'iexec';

function named(variable) {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set: run this suite through \`cargo test -p e2e official\``);
  return value;
}

export const market = JSON.parse(readFileSync(named('OFFICIAL_UP'), 'utf8'));
export const chainJson = JSON.parse(readFileSync(named('OFFICIAL_CHAIN'), 'utf8'));
export const chain = chainJson.chains[chainJson.default];
export const chainId = market.chainId;
export const origin = market.origin;
export const hub = market.contracts.hub;

/** The tag of every deal that iexec 9.0.1 makes: tee and tdx. */
export const TDX = `0x${'9'.padStart(64, '0')}`;
export const ZERO = `0x${'0'.repeat(40)}`;

/** What a test waits for at most: the machine may be slow and busy. */
export const PATIENCE = 120_000;

/** The library's options: every address named, as chain ids that the library knows would else lead to public servers. */
export const options = {
  hubAddress: hub,
  smsURL: origin,
  iexecGatewayURL: origin,
  compassURL: origin,
  ipfsGatewayURL: origin,
  ipfsNodeURL: origin,
  pocoSubgraphURL: `${origin}/subgraphs/poco`,
};

/** The program of OFFICIAL_ECHO. */
export const echoProgram = () => readFileSync(named('OFFICIAL_ECHO'));

/** The program of OFFICIAL_READ. */
export const readProgram = () => readFileSync(named('OFFICIAL_READ'));

export const provider = new JsonRpcProvider(origin, undefined, { pollingInterval: 100, cacheTimeout: -1 });

/** A development account of the market, by its place. */
export function development(index) {
  const mnemonic = Mnemonic.fromPhrase('test test test test test test test test test test test junk');
  return HDNodeWallet.fromMnemonic(mnemonic, `m/44'/60'/0'/0/${index}`).connect(provider);
}

/** The owner of the contracts. */
export const ADMIN = 10;

/** The official library, for a wallet or for nobody. */
export function library(wallet) {
  const ethProvider = wallet ? utils.getSignerFromPrivateKey(origin, wallet.privateKey) : origin;
  return new IExec({ ethProvider }, options);
}

const erc20 = ['function transfer(address to, uint256 amount) returns (bool)'];

/** Does something with a development account that others may use at this moment: a taken nonce means once more. */
export const sharing = (work) =>
  eventually('a moment with the account', () =>
    work().catch((error) => {
      if (!/nonce|already known/i.test(error.message)) throw error;
    }));

/**
 * A purse with the money of one development account. Within a file, transactions of one account go one after the other;
 * files are processes of their own and had better take different accounts.
 */
export function purse(index) {
  const from = development(index);
  const token = new Contract(market.contracts.rlc, erc20, from);
  let last = Promise.resolve();
  const inTurn = (work) => {
    last = last.then(work, work);
    return last;
  };
  const give = (to, { rlc, ether }) =>
    inTurn(async () => {
      await (await sharing(() => from.sendTransaction({ to, value: parseEther(ether) }))).wait();
      if (rlc) await (await sharing(() => token.transfer(to, BigInt(rlc)))).wait();
    });
  return {
    /** A new wallet with ether, nRLC in the wallet and nRLC in the account. */
    async wallet({ ether = '10', rlc = 0, stake = 0 } = {}) {
      const wallet = Wallet.createRandom().connect(provider);
      await give(wallet.address, { ether, rlc: rlc + stake });
      if (stake) await library(wallet).account.deposit(stake);
      return wallet;
    },
  };
}

/** Asks until the answer is truthy, and gives it. */
export async function eventually(what, ask, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await sleep(100);
  }
}

/** A GET at the market's origin, with the chain id; its JSON. */
export async function get(path, query = {}) {
  const url = new URL(path, origin);
  url.search = new URLSearchParams({ chainId, ...query });
  const response = await fetch(url);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** Stores bytes as `kubo add` does; the CID. */
export async function store(bytes) {
  const form = new FormData();
  form.append('file', new Blob([bytes]));
  const response = await fetch(`${origin}/api/v0/add`, { method: 'POST', body: form });
  if (!response.ok) throw new Error(`add: ${response.status} ${await response.text()}`);
  return JSON.parse(await response.text()).Hash;
}

let unique = 0;
/** A name nobody else has. */
export const fresh = (what) => `${what} ${process.pid}-${(unique += 1)}`;
