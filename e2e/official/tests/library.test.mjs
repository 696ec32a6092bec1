// Every method of the official library that needs no task to be run.

import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe } from 'node:test';
import { Wallet, parseEther } from 'ethers';
import { IExec, errors, utils } from 'iexec';
import {
  ADMIN, TDX, chainId, development, eventually, fresh, get, hub, library, market, options, origin, provider, purse, sharing,
} from '../support/market.mjs';
import { once, row, story } from '../support/row.mjs';

const money = purse(14);
const anybody = library();
const somebody = async (funds) => {
  const wallet = await money.wallet(funds);
  return { wallet, address: wallet.address, iexec: library(wallet) };
};
const stranger = () => Wallet.createRandom().address;
const bytes32 = () => `0x${randomBytes(32).toString('hex')}`;
const isTx = (hash) => assert.match(hash, /^0x[0-9a-f]{64}$/);

const newApp = (owner) => ({
  owner, name: fresh('app'), type: 'DOCKER', multiaddr: 'registry.example/nothing:1', checksum: bytes32(),
});
const newDataset = (owner) => ({
  owner, name: fresh('dataset'), multiaddr: '/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ', checksum: bytes32(),
});
const newPool = (owner) => ({ owner, description: fresh('pool') });

describe('library', { concurrency: 4 }, () => {
  story('account', () => {
    const mine = once(() => somebody({ rlc: 1000 }));
    const spender = stranger();

    row('library: account.deposit', async () => {
      const { amount, txHash } = await (await mine()).iexec.account.deposit(900);
      assert.equal(amount.toString(), '900');
      assert.equal((await provider.getTransactionReceipt(txHash)).status, 1);
    });
    row('library: account.withdraw', async () => {
      const { amount } = await (await mine()).iexec.account.withdraw(100);
      assert.equal(amount.toString(), '100');
      await assert.rejects((await mine()).iexec.account.withdraw(801), /Withdraw amount exceed account balance/);
    });
    row('library: account.checkBalance', async () => {
      const { stake, locked } = await anybody.account.checkBalance((await mine()).address);
      assert.deepEqual([stake.toString(), locked.toString()], ['800', '0']);
    });
    row('library: account.approve', async () => isTx(await (await mine()).iexec.account.approve(55, spender)));
    row('library: account.checkAllowance', async () => {
      assert.equal((await anybody.account.checkAllowance((await mine()).address, spender)).toString(), '55');
    });
    row('library: account.revokeApproval', async () => {
      await (await mine()).iexec.account.revokeApproval(spender);
      assert.equal((await anybody.account.checkAllowance((await mine()).address, spender)).toString(), '0');
    });
  });

  story('wallet', () => {
    const mine = once(() => somebody({ ether: '2', rlc: 500 }));

    row('library: wallet.getAddress', async () => {
      assert.equal(await (await mine()).iexec.wallet.getAddress(), (await mine()).address);
    });
    row('library: wallet.checkBalances', async () => {
      const { wei, nRLC } = await anybody.wallet.checkBalances((await mine()).address);
      assert.deepEqual([wei.toString(), nRLC.toString()], [parseEther('2').toString(), '500']);
    });
    row('library: wallet.sendETH', async () => {
      const to = stranger();
      isTx(await (await mine()).iexec.wallet.sendETH('77 gwei', to));
      assert.equal(await provider.getBalance(to), 77_000_000_000n);
    });
    row('library: wallet.sendRLC', async () => {
      const to = stranger();
      isTx(await (await mine()).iexec.wallet.sendRLC(33, to));
      assert.equal((await anybody.wallet.checkBalances(to)).nRLC.toString(), '33');
    });
    row('library: wallet.sweep', async () => {
      const to = stranger();
      const { sendERC20TxHash, sendNativeTxHash, errors: failed } = await (await mine()).iexec.wallet.sweep(to);
      assert.ok(sendERC20TxHash && sendNativeTxHash && !failed);
      const { wei, nRLC } = await anybody.wallet.checkBalances(to);
      assert.equal(nRLC.toString(), '467');
      assert.ok(BigInt(wei.toString()) > parseEther('1.9'));
    });
  });

  // The three kinds of asset have the same seven methods.
  for (const [module, Kind, Many, make, name] of [
    ['app', 'App', 'Apps', newApp, (it) => [it.app.appName, it.app.owner]],
    ['dataset', 'Dataset', 'Datasets', newDataset, (it) => [it.dataset.datasetName, it.dataset.owner]],
    ['workerpool', 'Workerpool', 'Workerpools', newPool, (it) => [it.workerpool.workerpoolDescription, it.workerpool.owner]],
  ]) {
    story(module, () => {
      const mine = once(() => somebody());
      let [asset, predicted, address] = [];

      row(`library: ${module}.predict${Kind}Address`, async () => {
        asset = make((await mine()).address);
        predicted = await anybody[module][`predict${Kind}Address`](asset);
        assert.match(predicted, /^0x[0-9a-fA-F]{40}$/);
      });
      row(`library: ${module}.deploy${Kind}`, async () => {
        const { iexec } = await mine();
        ({ address } = await iexec[module][`deploy${Kind}`](asset));
        assert.equal(address, predicted);
        await assert.rejects(iexec[module][`deploy${Kind}`](asset), /already deployed at address/);
      });
      row(`library: ${module}.checkDeployed${Kind}`, async () => {
        const known = anybody[module][`checkDeployed${Kind}`];
        assert.deepEqual([await known(address), await known(stranger())], [true, false]);
      });
      row(`library: ${module}.show${Kind}`, async () => {
        const shown = await anybody[module][`show${Kind}`](address);
        assert.equal(shown.objAddress, address);
        assert.deepEqual(name(shown), [asset.name ?? asset.description, asset.owner]);
        await assert.rejects(anybody[module][`show${Kind}`](stranger()), errors.ObjectNotFoundError);
      });
      row(`library: ${module}.showUser${Kind}`, async () => {
        const shown = await anybody[module][`showUser${Kind}`](0, asset.owner);
        assert.equal(shown.objAddress, address);
      });
      row(`library: ${module}.countUser${Many}`, async () => {
        assert.equal((await anybody[module][`countUser${Many}`](asset.owner)).toString(), '1');
      });
      if (module === 'app') {
        row('library: app.pushAppSecret', async () => {
          const { iexec } = await mine();
          assert.equal(await iexec.app.pushAppSecret(address, 'a secret'), true);
          await assert.rejects(iexec.app.pushAppSecret(address, 'b'), /already exists for 0x\w+ and can't be updated/);
        });
        row('library: app.checkAppSecretExists', async () => {
          assert.equal(await anybody.app.checkAppSecretExists(address), true);
          assert.equal(await anybody.app.checkAppSecretExists(stranger()), false);
        });
      }
      if (module === 'dataset') {
        row('library: dataset.pushDatasetSecret', async () => {
          const { iexec } = await mine();
          const thief = await somebody();
          const key = iexec.dataset.generateEncryptionKey();
          await assert.rejects(thief.iexec.dataset.pushDatasetSecret(address, key), /is not allowed to set secret for/);
          assert.equal(await iexec.dataset.pushDatasetSecret(address, key), true);
        });
        row('library: dataset.checkDatasetSecretExists', async () => {
          assert.equal(await anybody.dataset.checkDatasetSecretExists(address), true);
          assert.equal(await anybody.dataset.checkDatasetSecretExists(stranger()), false);
        });
      }
      if (module === 'workerpool') {
        row('library: workerpool.getWorkerpoolApiUrl', async () => {
          const [known] = market.workerpools;
          const url = await anybody.workerpool.getWorkerpoolApiUrl(known.address);
          assert.equal(new URL(url).origin, origin);
          assert.equal(await anybody.workerpool.getWorkerpoolApiUrl(address), undefined);
        });
      }
      row(`library: ${module}.transfer${Kind}`, async () => {
        const to = stranger();
        const { iexec } = await mine();
        isTx((await iexec[module][`transfer${Kind}`](address, to)).txHash);
        const there = await anybody[module][`show${Kind}`](address);
        assert.equal(name(there)[1], to);
        await assert.rejects(iexec[module][`transfer${Kind}`](address, to), /Only \w+ owner can transfer/);
      });
    });
  }

  story('dataset files', () => {
    const key = once(() => anybody.dataset.generateEncryptionKey());
    row('library: dataset.generateEncryptionKey', () => {
      assert.equal(Buffer.from(key(), 'base64').length, 32);
      assert.notEqual(key(), anybody.dataset.generateEncryptionKey());
    });
    const sealed = once(() => anybody.dataset.encrypt(Buffer.from('read me'), key()));
    row('library: dataset.encrypt', async () => {
      const { createDecipheriv } = await import('node:crypto');
      const bytes = Buffer.from(await sealed());
      const open = createDecipheriv('aes-256-cbc', Buffer.from(key(), 'base64'), bytes.subarray(0, 16));
      assert.equal(Buffer.concat([open.update(bytes.subarray(16)), open.final()]).toString(), 'read me');
    });
    row('library: dataset.computeEncryptedFileChecksum', async () => {
      const checksum = await anybody.dataset.computeEncryptedFileChecksum(await sealed());
      assert.equal(checksum, `0x${createHash('sha256').update(Buffer.from(await sealed())).digest('hex')}`);
    });
  });

  story('hub and network', () => {
    let catid;
    row('library: hub.createCategory', async () => {
      const category = { name: fresh('category'), description: 'of a test', workClockTimeRef: 7 };
      await assert.rejects((await somebody()).iexec.hub.createCategory(category), /only category owner/);
      ({ catid } = await sharing(() => library(development(ADMIN)).hub.createCategory(category)));
      assert.ok(catid.toNumber() >= 5);
    });
    row('library: hub.showCategory', async () => {
      const { name, workClockTimeRef } = await anybody.hub.showCategory(catid);
      assert.match(name, /^category /);
      assert.equal(workClockTimeRef.toString(), '7');
    });
    row('library: hub.countCategory', async () => {
      assert.ok((await anybody.hub.countCategory()).gt(catid));
    });
    row('library: hub.getTimeoutRatio', async () => {
      assert.equal((await anybody.hub.getTimeoutRatio()).toString(), '10');
    });
    row('library: network.getNetwork', async () => {
      const network = await anybody.network.getNetwork();
      assert.equal(Number(network.chainId), chainId);
    });
  });

  story('secrets', () => {
    const mine = once(() => somebody());
    row('library: secrets.pushRequesterSecret', async () => {
      const { iexec } = await mine();
      assert.deepEqual(await iexec.secrets.pushRequesterSecret('a-name', 'a value'), { isPushed: true });
      await assert.rejects(iexec.secrets.pushRequesterSecret('a-name', 'x'), /"a-name" already exists for 0x/);
    });
    row('library: secrets.checkRequesterSecretExists', async () => {
      const { address } = await mine();
      assert.equal(await anybody.secrets.checkRequesterSecretExists(address, 'a-name'), true);
      assert.equal(await anybody.secrets.checkRequesterSecretExists(address, 'another'), false);
    });
    row('library: result.pushResultEncryptionKey', async () => {
      const { iexec } = await mine();
      const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const pem = publicKey.export({ type: 'spki', format: 'pem' });
      assert.deepEqual(await iexec.result.pushResultEncryptionKey(pem), { isPushed: true, isUpdated: false });
      await assert.rejects(iexec.result.pushResultEncryptionKey(pem), /already exists/);
      const again = await iexec.result.pushResultEncryptionKey(pem, { forceUpdate: true });
      assert.deepEqual(again, { isPushed: true, isUpdated: true });
    });
    row('library: result.checkResultEncryptionKeyExists', async () => {
      assert.equal(await anybody.result.checkResultEncryptionKeyExists((await mine()).address), true);
      assert.equal(await anybody.result.checkResultEncryptionKeyExists(stranger()), false);
    });
    row('library: storage.pushStorageToken', async () => {
      const { iexec } = await mine();
      const pushed = await iexec.storage.pushStorageToken('a token', 'dropbox');
      assert.deepEqual(pushed, { isPushed: true, isUpdated: false });
      await assert.rejects(iexec.storage.pushStorageToken('b', 'dropbox'), /already exists/);
      const again = await iexec.storage.pushStorageToken('b', 'dropbox', { forceUpdate: true });
      assert.deepEqual(again, { isPushed: true, isUpdated: true });
    });
    row('library: storage.checkStorageTokenExists', async () => {
      assert.equal(await anybody.storage.checkStorageTokenExists((await mine()).address, 'dropbox'), true);
      assert.equal(await anybody.storage.checkStorageTokenExists(stranger(), 'dropbox'), false);
    });
  });

  story('orders', () => {
    const mine = once(async () => {
      const it = await somebody({ stake: 100_000 });
      const { iexec, address } = it;
      it.app = (await iexec.app.deployApp(newApp(address))).address;
      it.dataset = (await iexec.dataset.deployDataset(newDataset(address))).address;
      it.workerpool = (await iexec.workerpool.deployWorkerpool(newPool(address))).address;
      await iexec.dataset.pushDatasetSecret(it.dataset, iexec.dataset.generateEncryptionKey());
      it.orders = {
        app: { app: it.app, appprice: 1, volume: 5 },
        dataset: { dataset: it.dataset, datasetprice: 2, volume: 5 },
        workerpool: { workerpool: it.workerpool, workerpoolprice: 3, volume: 5, category: 1 },
        request: {
          app: it.app, appmaxprice: 1, dataset: it.dataset, datasetmaxprice: 2, workerpoolmaxprice: 3,
          category: 1, volume: 2, params: { iexec_args: 'an argument' },
        },
      };
      it.signed = {};
      it.hashes = {};
      it.fresh = async (kind) => {
        const Kind = titled(kind);
        const order = await iexec.order[`create${Kind}order`](it.orders[kind]);
        return iexec.order[`sign${Kind}order`](order);
      };
      return it;
    });
    const titled = (kind) => kind[0].toUpperCase() + kind.slice(1);
    const kinds = ['app', 'dataset', 'workerpool', 'request'];

    for (const kind of kinds) {
      const Kind = titled(kind);
      row(`library: order.create${Kind}order`, async () => {
        const it = await mine();
        const order = await it.iexec.order[`create${Kind}order`](it.orders[kind]);
        assert.equal(order.tag, TDX);
        assert.equal(order.volume, kind === 'request' ? '2' : '5');
        if (kind === 'request') {
          assert.equal(order.requester, it.address);
          assert.equal(order.params.iexec_result_storage_provider, 'ipfs');
        }
        it.orders[`${kind}Made`] = order;
      });
      row(`library: order.sign${Kind}order`, async () => {
        const it = await mine();
        it.signed[kind] = await it.iexec.order[`sign${Kind}order`](it.orders[`${kind}Made`]);
        assert.match(it.signed[kind].sign, /^0x[0-9a-f]{130}$/);
      });
      row(`library: order.hash${Kind}order`, async () => {
        const it = await mine();
        it.hashes[kind] = await anybody.order[`hash${Kind}order`](it.signed[kind]);
        isTx(it.hashes[kind]);
      });
      row(`library: order.publish${Kind}order`, async () => {
        const it = await mine();
        const publish = it.iexec.order[`publish${Kind}order`];
        assert.equal(await publish(it.signed[kind]), it.hashes[kind]);
        await assert.rejects(publish(it.signed[kind]), /API error: order already published/);
        assert.equal((await get(`/${kind}orders/${it.hashes[kind]}`)).body.status, 'open');
      });
      row(`library: orderbook.fetch${Kind}order`, async () => {
        const it = await mine();
        const found = await anybody.orderbook[`fetch${Kind}order`](it.hashes[kind]);
        assert.equal(found.order.salt, it.signed[kind].salt);
        assert.deepEqual([found.status, found.signer], ['open', it.address]);
        await assert.rejects(anybody.orderbook[`fetch${Kind}order`](bytes32()), new RegExp(`${kind}order not found`));
      });
      const Book = `fetch${Kind}Orderbook`;
      row(`library: orderbook.${Book}`, async () => {
        const it = await mine();
        const query = kind === 'request' ? { requester: it.address } : { [kind]: it[kind] };
        const { orders, count, more } = await anybody.orderbook[Book](query);
        assert.deepEqual(orders.map(({ orderHash }) => orderHash), [it.hashes[kind]]);
        assert.equal(count, 1);
        assert.equal(more, undefined);
        assert.equal((await anybody.orderbook[Book]({ ...query, minVolume: 6 })).count, 0);
      });
    }

    row('library: order.estimateMatchOrders', async () => {
      const { signed } = await mine();
      const orders = Object.fromEntries(kinds.map((kind) => [`${kind}order`, signed[kind]]));
      const { volume, total } = await anybody.order.estimateMatchOrders(orders);
      assert.deepEqual([volume.toString(), total.toString()], ['2', '12']);
    });
    row('library: order.matchOrders', async () => {
      const it = await mine();
      const orders = Object.fromEntries(kinds.map((kind) => [`${kind}order`, it.signed[kind]]));
      const { dealid, volume, txHash } = await it.iexec.order.matchOrders(orders);
      assert.equal(volume.toString(), '2');
      assert.equal((await provider.getTransactionReceipt(txHash)).status, 1);
      it.dealid = dealid;
      const untagged = { ...orders, requestorder: { ...orders.requestorder, tag: bytes32() } };
      await assert.rejects(it.iexec.order.matchOrders(untagged));
    });
    row('library: deal.show', async () => {
      const it = await mine();
      const deal = await anybody.deal.show(it.dealid);
      assert.deepEqual([deal.app.pointer, deal.dataset.pointer, deal.workerpool.pointer, deal.requester],
        [it.app, it.dataset, it.workerpool, it.address]);
      assert.deepEqual([deal.tag, deal.botSize.toString(), deal.category.toString()], [TDX, '2', '1']);
      assert.equal(Object.keys(deal.tasks).length, 2);
      assert.equal(deal.deadlineReached, false);
      it.deal = deal;
    });
    row('library: deal.computeTaskId', async () => {
      const it = await mine();
      assert.equal(await anybody.deal.computeTaskId(it.dealid, 1), it.deal.tasks[1]);
    });
    const dealsOf = (ask) => eventually('the deal in the book', async () => {
      assert.ok((await mine()).dealid, 'there is a deal');
      const { deals, count } = await ask();
      return count > 0 && deals;
    });
    row('library: deal.fetchRequesterDeals', async () => {
      const it = await mine();
      const filters = { appAddress: it.app, datasetAddress: it.dataset, workerpoolAddress: it.workerpool };
      const [deal] = await dealsOf(() => anybody.deal.fetchRequesterDeals(it.address, filters));
      assert.deepEqual([deal.dealid, deal.volume, deal.workerpool.price], [it.dealid, 2, 3]);
      assert.equal((await anybody.deal.fetchRequesterDeals(it.address, { appAddress: stranger() })).count, 0);
    });
    for (const kind of kinds) {
      row(`library: deal.fetchDealsBy${titled(kind)}order`, async () => {
        const it = await mine();
        const [deal] = await dealsOf(() => anybody.deal[`fetchDealsBy${titled(kind)}order`](it.hashes[kind]));
        assert.equal(deal.dealid, it.dealid);
        const none = await anybody.deal[`fetchDealsBy${titled(kind)}order`](bytes32());
        assert.deepEqual(none, { count: 0, deals: [] });
      });
    }
    for (const kind of kinds) {
      row(`library: order.cancel${titled(kind)}order`, async () => {
        const it = await mine();
        const order = kind === 'request' ? await it.fresh(kind) : it.signed[kind];
        const { txHash } = await it.iexec.order[`cancel${titled(kind)}order`](order);
        isTx(txHash);
        await assert.rejects(it.iexec.order[`cancel${titled(kind)}order`](order), /already canceled/);
        if (kind === 'request') return;
        await eventually('the order to be gone', async () => {
          const { body } = await get(`/${kind}orders/${it.hashes[kind]}`);
          return body.status === 'canceled';
        });
      });
    }

    // The deal has shown that what is published can be matched; these are about the book alone.
    for (const kind of kinds) {
      const Kind = titled(kind);
      const book = async (it) => {
        const query = kind === 'request' ? { requester: it.address } : { [kind]: it[kind] };
        return (await anybody.orderbook[`fetch${Kind}Orderbook`](query)).orders.map(({ orderHash }) => orderHash);
      };
      const publish = async (it) => it.iexec.order[`publish${Kind}order`](await it.fresh(kind));
      const of = (it) => (kind === 'request' ? [] : [it[kind]]);
      // A request needs the app and the dataset it asks for to be on sale.
      const prepared = once(async () => {
        const it = await mine();
        if (kind === 'request') {
          for (const other of ['app', 'dataset']) {
            await it.iexec.order[`publish${titled(other)}order`](await it.fresh(other));
          }
        }
        return it;
      });

      row(`library: order.unpublish${Kind}order`, async () => {
        const it = await prepared();
        const hash = await publish(it);
        assert.equal(await it.iexec.order[`unpublish${Kind}order`](hash), hash);
        assert.deepEqual(await book(it), []);
        await assert.rejects(it.iexec.order[`unpublish${Kind}order`](hash), /is not published/);
      });
      row(`library: order.unpublishLast${Kind}order`, async () => {
        const it = await prepared();
        const [first, last] = [await publish(it), await publish(it)];
        assert.equal(await it.iexec.order[`unpublishLast${Kind}order`](...of(it)), last);
        assert.deepEqual(await book(it), [first]);
      });
      row(`library: order.unpublishAll${Kind}orders`, async () => {
        const it = await prepared();
        const before = [...(await book(it)), await publish(it)];
        const gone = await it.iexec.order[`unpublishAll${Kind}orders`](...of(it));
        assert.deepEqual(gone.toSorted(), before.toSorted());
        assert.deepEqual(await book(it), []);
      });
    }
  });

  story('bulk', () => {
    row('library: order.prepareDatasetBulk', async () => {
      const { iexec, address } = await somebody();
      const orders = [];
      for (let i = 0; i < 3; i += 1) {
        const { address: dataset } = await iexec.dataset.deployDataset(newDataset(address));
        const order = { dataset, datasetprice: 0, volume: utils.DATASET_INFINITE_VOLUME };
        const made = await iexec.order.createDatasetorder(order);
        orders.push(await iexec.order.signDatasetorder(made, { preflightCheck: false }));
      }
      const bulk = await iexec.order.prepareDatasetBulk(orders, { maxDatasetPerTask: 2, thegraphUpload: false });
      assert.equal(bulk.volume, 2);
      const read = async (cid) => (await fetch(`${origin}/ipfs/${cid}`)).json();
      const slices = await read(bulk.cid);
      const [first, second] = await Promise.all(slices.map(read));
      assert.deepEqual([...first, ...second].map(({ dataset }) => dataset), orders.map(({ dataset }) => dataset));
    });
  });

  describe('configuration', () => {
    const { config } = anybody;
    for (const [resolve, expected] of [
      ['resolveChainId', chainId],
      ['resolveSmsURL', origin],
      ['resolveIexecGatewayURL', origin],
      ['resolveCompassURL', origin],
      ['resolveIpfsGatewayURL', origin],
      ['resolveIpfsNodeURL', origin],
      ['resolvePocoSubgraphURL', options.pocoSubgraphURL],
    ]) {
      row(`config: ${resolve}`, async () => assert.equal(await config[resolve](), expected));
    }
    row('config: resolveContractsClient', async () => {
      const client = await config.resolveContractsClient();
      assert.equal(client.hubAddress, hub);
      assert.equal(await client.fetchTokenAddress(), market.contracts.rlc);
      assert.throws(() => new IExec({ ethProvider: 'ws://127.0.0.1:1' }, options), /Invalid provider host name or url/);
    });
  });

  describe('utils', () => {
    row('utils: parseEth', () => {
      assert.equal(utils.parseEth('1.5').toString(), '1500000000000000000');
      assert.equal(utils.parseEth('4 gwei').toString(), '4000000000');
      assert.throws(() => utils.parseEth('4 RLC'), /Invalid ether unit/);
    });
    row('utils: formatEth', () => assert.equal(utils.formatEth('1500000000000000000'), '1.5'));
    row('utils: parseRLC', () => {
      assert.equal(utils.parseRLC('0.000000003').toString(), '3');
      assert.equal(utils.parseRLC('3 nRLC').toString(), '3');
      assert.throws(() => utils.parseRLC('0.5 nRLC'), /Invalid token amount/);
    });
    row('utils: formatRLC', () => assert.equal(utils.formatRLC(1_000_000_001), '1.000000001'));
    row('utils: encodeTag', () => assert.equal(utils.encodeTag(['tee', 'tdx']), TDX));
    row('utils: decodeTag', () => assert.deepEqual(utils.decodeTag(TDX), ['tee', 'tdx']));
    row('utils: sumTags', () => {
      const [tee, gpu] = [utils.encodeTag(['tee', 'tdx']), `0x${'100'.padStart(64, '0')}`];
      assert.equal(utils.sumTags([tee, gpu]), `0x${'109'.padStart(64, '0')}`);
    });
    row('utils: getSignerFromPrivateKey', async () => {
      const { address, privateKey } = Wallet.createRandom();
      const signer = utils.getSignerFromPrivateKey(origin, privateKey);
      assert.equal(await signer.getAddress(), address);
      assert.equal((await signer.provider.getNetwork()).chainId, BigInt(chainId));
    });
  });
});
