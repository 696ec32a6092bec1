// ethers v6 as people use it: its default provider settings, sequential awaits, no nonce handling of their own.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  Contract,
  ContractFactory,
  HDNodeWallet,
  JsonRpcProvider,
  Mnemonic,
  WebSocketProvider,
  parseEther,
  verifyMessage,
  verifyTypedData,
} from 'ethers';
import { httpUrl, mnemonic, probe, wsUrl } from './support.mjs';

const provider = new JsonRpcProvider(httpUrl);
// A wait() that finds no receipt and has to poll never ends, so the tests show that none has to.
provider.pollingInterval = 3_600_000;
after(() => provider.destroy());

const sink = '0x00000000000000000000000000000000000e7e45';

function wallet(index, on = provider) {
  const path = `m/44'/60'/0'/0/${index}`;
  return HDNodeWallet.fromMnemonic(Mnemonic.fromPhrase(mnemonic), path).connect(on);
}

async function deploy(signer, start = 7n) {
  const contract = await new ContractFactory(probe.abi, probe.bytecode, signer).deploy(start);
  return contract.waitForDeployment();
}

describe('ethers', () => {
  test('20 sequential sends, waiting for each', async () => {
    const from = wallet(0);
    const before = await provider.getTransactionCount(from.address);
    for (let i = 0; i < 20; i++) {
      const sent = await from.sendTransaction({ to: sink, value: 1n });
      const receipt = await sent.wait();
      assert.equal(receipt.status, 1);
      assert.equal(sent.nonce, before + i);
    }
  });

  test('20 sequential sends, waiting for none', async () => {
    const from = wallet(1);
    const hashes = [];
    for (let i = 0; i < 20; i++) {
      hashes.push((await from.sendTransaction({ to: sink, value: 1n })).hash);
    }
    const receipts = await Promise.all(hashes.map((hash) => provider.getTransactionReceipt(hash)));
    assert.deepEqual(receipts.map((it) => it.status), Array(20).fill(1));
  });

  test('20 sends at once with nonces of their own do not wait', async () => {
    const from = wallet(2);
    const first = await from.getNonce();
    const fees = { gasLimit: 21_000n, maxFeePerGas: 10n ** 9n, maxPriorityFeePerGas: 0n };
    const sends = Array.from({ length: 20 }, (_, i) =>
      from.sendTransaction({ to: sink, value: 1n, nonce: first + i, ...fees }),
    );
    for (const sent of await Promise.all(sends)) assert.equal((await sent.wait()).status, 1);
  });

  test('a contract is deployed, called and written to; events come back', async () => {
    const contract = await deploy(wallet(3));
    assert.equal(await contract.count(), 7n);
    const receipt = await (await contract.increment('0x1234')).wait();
    assert.equal(await contract.count(), 8n);
    assert.equal(receipt.logs[0].fragment.name, 'Counted');
    assert.deepEqual([...receipt.logs[0].args], [wallet(3).address, 8n, '0x1234']);
    const found = await contract.queryFilter(contract.filters.Counted(wallet(3).address), 0);
    assert.equal(found.length, 1);
    assert.equal(found[0].transactionHash, receipt.hash);
  });

  test('reverts are told with their reason', async () => {
    const contract = await deploy(wallet(4));
    await assert.rejects(contract.fail(), (error) => {
      assert.equal(error.code, 'CALL_EXCEPTION');
      assert.equal(error.reason, 'not today');
      return true;
    });
    await assert.rejects(contract.failCustom(3n), (error) => {
      assert.equal(error.revert.name, 'TooSmall');
      assert.deepEqual([...error.revert.args], [3n, 10n]);
      return true;
    });
    await assert.rejects(contract.failAssert(), (error) => {
      assert.equal(error.code, 'CALL_EXCEPTION');
      return true;
    });
  });

  test('too little money and an old nonce have their own codes', async () => {
    const poor = HDNodeWallet.createRandom().connect(provider);
    await assert.rejects(poor.sendTransaction({ to: sink, value: 1n }), { code: 'INSUFFICIENT_FUNDS' });
    const from = wallet(5);
    await (await from.sendTransaction({ to: sink, value: 1n })).wait();
    await assert.rejects(
      from.sendTransaction({ to: sink, value: 1n, nonce: 0, gasLimit: 21_000n }),
      { code: 'NONCE_EXPIRED' },
    );
  });

  test('unlocked accounts send and sign', async () => {
    const signer = await provider.getSigner(6);
    for (let i = 0; i < 3; i++) {
      const sent = await signer.sendTransaction({ to: sink, value: 5n });
      assert.equal((await sent.wait()).status, 1);
    }
    assert.equal(verifyMessage('hello', await signer.signMessage('hello')), signer.address);
    const domain = { name: 'Test', version: '1', chainId: 31337n };
    const types = { Order: [{ name: 'owner', type: 'address' }, { name: 'price', type: 'uint256' }] };
    const value = { owner: sink, price: 12n };
    const signature = await signer.signTypedData(domain, types, value);
    assert.equal(verifyTypedData(domain, types, value, signature), signer.address);
  });

  test('blocks, balances and fees read as ethers expects', async () => {
    const block = await provider.getBlock('latest', true);
    assert.equal(block.hash.length, 66);
    assert.ok(block.baseFeePerGas > 0n);
    assert.equal((await provider.getBlock(block.hash)).number, block.number);
    assert.equal(await provider.getBlock(10_000_000), null);
    assert.equal((await provider.getNetwork()).chainId, 31337n);
    const fees = await provider.getFeeData();
    assert.ok(fees.maxFeePerGas > 0n);
    assert.ok((await provider.getBalance(wallet(7).address)) <= parseEther('10000'));
    assert.equal(await provider.getCode(sink), '0x');
  });

  test('events and blocks are pushed over a websocket', async () => {
    const socket = new WebSocketProvider(wsUrl);
    try {
      const contract = await deploy(wallet(8, socket));
      const heard = [];
      const both = new Promise((resolve) => {
        contract.on('Counted', (by, count) => {
          heard.push(count);
          if (heard.length === 2) resolve();
        });
      });
      const block = new Promise((resolve) => socket.once('block', resolve));
      // The subscription itself is a request that nobody can await: this one comes after it.
      await socket.getBlockNumber();
      await (await contract.increment('0x')).wait();
      await (await contract.increment('0x')).wait();
      await both;
      assert.deepEqual(heard, [8n, 9n]);
      assert.ok((await block) > 0);
      await contract.removeAllListeners();
    } finally {
      await socket.destroy();
    }
  });

  test('events are polled over HTTP', async () => {
    const polling = new JsonRpcProvider(httpUrl, undefined, { polling: false });
    polling.pollingInterval = 50;
    try {
      const contract = await deploy(wallet(9, polling));
      const heard = new Promise((resolve) => contract.once('Counted', (by, count) => resolve(count)));
      await contract.listenerCount('Counted');
      await polling.getBlockNumber();
      await (await contract.increment('0x')).wait();
      assert.equal(await heard, 8n);
    } finally {
      polling.destroy();
    }
  });
});
