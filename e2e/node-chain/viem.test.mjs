// viem: its clients, actions and error classes.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  BaseError,
  ContractFunctionRevertedError,
  createPublicClient,
  createTestClient,
  createWalletClient,
  http,
  parseEther,
  parseGwei,
  webSocket,
} from 'viem';
import { mnemonicToAccount } from 'viem/accounts';
import { foundry } from 'viem/chains';
import { httpUrl, mnemonic, probe, wsUrl } from './support.mjs';

const chain = { ...foundry, rpcUrls: { default: { http: [httpUrl], webSocket: [wsUrl] } } };
const transport = http(httpUrl, { batch: true });
const reader = createPublicClient({ chain, transport, pollingInterval: 50 });
const { abi, bytecode } = probe;
const sink = '0x00000000000000000000000000000000000e7e46';

function wallet(index) {
  return createWalletClient({
    account: mnemonicToAccount(mnemonic, { addressIndex: index }),
    chain,
    transport: http(httpUrl),
  });
}

async function deploy(client, start = 7n) {
  const hash = await client.deployContract({ abi, bytecode, args: [start] });
  const receipt = await reader.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, 'success');
  return receipt.contractAddress;
}

// Each test has an account of its own, so they need not wait for each other.
describe('viem', { concurrency: true }, () => {
  test('20 sequential sends with and without waiting', async () => {
    const from = wallet(10);
    const hashes = [];
    for (let i = 0; i < 20; i++) {
      const hash = await from.sendTransaction({ to: sink, value: 1n });
      hashes.push(hash);
      if (i % 2 === 0) {
        const receipt = await reader.waitForTransactionReceipt({ hash });
        assert.equal(receipt.status, 'success');
      }
    }
    assert.equal(new Set(hashes).size, 20);
    assert.equal(await reader.getTransactionCount({ address: from.account.address }), 20);
  });

  test('simulate, write, read and find logs', async () => {
    const from = wallet(11);
    const address = await deploy(from);
    const { request, result } = await reader.simulateContract({
      address, abi, functionName: 'increment', args: ['0xbeef'], account: from.account,
    });
    assert.equal(result, 8n);
    const hash = await from.writeContract(request);
    const receipt = await reader.waitForTransactionReceipt({ hash });
    assert.equal(await reader.readContract({ address, abi, functionName: 'count' }), 8n);
    const logs = await reader.getContractEvents({
      address, abi, eventName: 'Counted', args: { count: 8n }, fromBlock: 0n,
    });
    assert.equal(logs.length, 1);
    assert.equal(logs[0].args.note, '0xbeef');
    assert.equal(logs[0].blockHash, receipt.blockHash);
    const past = await reader.readContract({
      address, abi, functionName: 'count', blockNumber: receipt.blockNumber - 1n,
    });
    assert.equal(past, 7n);
  });

  test('reverts carry their reason', async () => {
    const from = wallet(12);
    const address = await deploy(from);
    const why = async (functionName, args = []) => {
      try {
        await reader.simulateContract({ address, abi, functionName, args, account: from.account });
      } catch (error) {
        assert.ok(error instanceof BaseError);
        return error.walk((it) => it instanceof ContractFunctionRevertedError);
      }
      throw new Error('did not revert');
    };
    assert.equal((await why('fail')).reason, 'not today');
    const custom = await why('failCustom', [2n]);
    assert.equal(custom.data.errorName, 'TooSmall');
    assert.deepEqual(custom.data.args, [2n, 10n]);
    assert.equal((await why('failAssert')).data.errorName, 'Panic');
  });

  test('legacy, access list and 1559 transactions', async () => {
    const from = wallet(13);
    const kinds = [
      { type: 'legacy', gasPrice: parseGwei('1') },
      { type: 'eip2930', gasPrice: parseGwei('1'), accessList: [{ address: sink, storageKeys: [] }] },
      { type: 'eip1559', maxFeePerGas: parseGwei('1'), maxPriorityFeePerGas: 1n },
    ];
    for (const kind of kinds) {
      const hash = await from.sendTransaction({ to: sink, value: 1n, ...kind });
      await reader.waitForTransactionReceipt({ hash });
      const found = await reader.getTransaction({ hash });
      assert.equal(found.type, kind.type);
      assert.equal(found.from, from.account.address.toLowerCase());
    }
  });

  test('events are pushed over a websocket', async () => {
    const socket = createPublicClient({ chain, transport: webSocket(wsUrl) });
    const from = wallet(14);
    const address = await deploy(from);
    const heard = new Promise((resolve, reject) => {
      socket.watchContractEvent({
        address, abi, eventName: 'Counted', onLogs: ([log]) => resolve(log), onError: reject,
      });
    });
    // Comes after the subscription on the same socket.
    await socket.getBlockNumber();
    await from.writeContract({ address, abi, functionName: 'increment', args: ['0x'] });
    assert.equal((await heard).args.count, 8n);
    const client = await socket.transport.getRpcClient();
    client.close();
  });

  test('a batch is answered in order', async () => {
    const body = JSON.stringify(
      ['eth_chainId', 'eth_blockNumber', 'eth_nonsense'].map((method, id) => ({ jsonrpc: '2.0', id, method })),
    );
    const answers = await (await fetch(httpUrl, { method: 'POST', body })).json();
    assert.deepEqual(answers.map((it) => it.id), [0, 1, 2]);
    assert.equal(answers[0].result, '0x7a69');
    assert.equal(answers[2].error.code, -32601);
  });

  test('the test client moves money and accounts', async () => {
    const tester = createTestClient({ chain, transport, mode: 'anvil' });
    const stranger = '0x000000000000000000000000000000000000dEaD';
    await tester.setBalance({ address: stranger, value: parseEther('3') });
    await tester.impersonateAccount({ address: stranger });
    const sender = createWalletClient({ account: stranger, chain, transport });
    const hash = await sender.sendTransaction({ to: sink, value: parseEther('1') });
    const receipt = await reader.waitForTransactionReceipt({ hash });
    assert.equal(receipt.from, stranger.toLowerCase());
    await tester.stopImpersonatingAccount({ address: stranger });
    await assert.rejects(sender.sendTransaction({ to: sink, value: 1n }));
    const before = await reader.getBlockNumber({ cacheTime: 0 });
    await tester.mine({ blocks: 3 });
    assert.ok((await reader.getBlockNumber({ cacheTime: 0 })) >= before + 3n);
  });
});
