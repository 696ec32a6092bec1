// The CLI's commands about orders and order books.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { Wallet } from 'ethers';
import { Project } from '../support/cli.mjs';
import { TDX, ZERO, chainId, eventually, fresh, get, library, purse } from '../support/market.mjs';
import { once, row, story } from '../support/row.mjs';

const money = purse(12);
const anybody = library();
const checksum = `0x${'1'.repeat(64)}`;
const multiaddr = 'registry.example/nothing:1';

/** Somebody who owns an app and a workerpool, with stake enough to sell and buy. */
async function owner() {
  const wallet = await money.wallet({ stake: 10_000 });
  const mine = library(wallet);
  const { address: app } = await mine.app.deployApp({
    owner: wallet.address, name: fresh('app'), type: 'DOCKER', multiaddr, checksum,
  });
  const { address: workerpool } = await mine.workerpool.deployWorkerpool({
    owner: wallet.address, description: fresh('pool'),
  });
  const at = new Project(wallet);
  at.write('iexec.json', {});
  at.write('deployed.json', { app: { [chainId]: app }, workerpool: { [chainId]: workerpool } });
  return { at, mine, app, workerpool, address: wallet.address };
}

describe('cli: orders', { concurrency: 2 }, () => {
  story('the life of signed orders', () => {
    const mine = once(owner);
    const dataset = once(async () => {
      const { mine: me, address, at } = await mine();
      const { address: made } = await me.dataset.deployDataset({
        owner: address, name: fresh('dataset'), multiaddr: '/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ', checksum,
      });
      await me.dataset.pushDatasetSecret(made, me.dataset.generateEncryptionKey());
      at.edit('deployed.json', (it) => (it.dataset = { [chainId]: made }));
      return made;
    });
    const hashes = {};
    let deal;

    row('cli: iexec order init', async () => {
      const { at, app, workerpool, address } = await mine();
      const said = await at.raw('order', 'init', '--app', '--workerpool', '--request');
      const { order } = at.json('iexec.json');
      assert.deepEqual([order.apporder.app, order.workerpoolorder.workerpool], [app, workerpool]);
      assert.equal(order.requestorder.requester, address);
      assert.deepEqual(order.apporder.tag, ['tee', 'tdx']);
      assert.deepEqual(said.apporder, order.apporder);
      await dataset();
      await at.raw('order', 'init', '--dataset');
      assert.equal(at.json('iexec.json').order.datasetorder.dataset, await dataset());
    });

    row('cli: iexec order sign', async () => {
      const { at, app, workerpool } = await mine();
      at.edit('iexec.json', ({ order }) => {
        order.apporder.volume = '9';
        order.datasetorder.volume = '9';
        order.workerpoolorder.volume = '3';
        order.workerpoolorder.category = '1';
        Object.assign(order.requestorder, {
          category: '1', app, dataset: at.json('deployed.json').dataset[chainId], workerpool });
      });
      await at.raw('order', 'sign');
      const signed = at.json('orders.json')[chainId];
      assert.deepEqual(Object.keys(signed).sort(), ['apporder', 'datasetorder', 'requestorder', 'workerpoolorder']);
      assert.equal(signed.apporder.tag, TDX);
      hashes.app = await anybody.order.hashApporder(signed.apporder);
      hashes.dataset = await anybody.order.hashDatasetorder(signed.datasetorder);
      hashes.workerpool = await anybody.order.hashWorkerpoolorder(signed.workerpoolorder);
      hashes.request = await anybody.order.hashRequestorder(signed.requestorder);
    });

    row('cli: iexec order publish', async () => {
      const { at } = await mine();
      const said = await at.raw('order', 'publish', '--app', '--dataset', '--workerpool', '--request', '--force');
      for (const kind of ['app', 'dataset', 'workerpool', 'request']) {
        assert.equal(said[`${kind}order`].orderHash, hashes[kind]);
        assert.equal((await get(`/${kind}orders/${hashes[kind]}`)).body.status, 'open', kind);
      }
      const again = await at.refused('order', 'publish', '--app', '--force');
      assert.equal(again, 'apporder: API error: order already published');
    });

    row('cli: iexec order show', async () => {
      const { at } = await mine();
      const said = await at.raw('order', 'show', '--app', '--dataset', '--workerpool', hashes.workerpool, '--request');
      assert.equal(said.apporder.orderHash, hashes.app);
      assert.equal(said.datasetorder.orderHash, hashes.dataset);
      assert.equal(said.workerpoolorder.remaining, 3);
      assert.equal(said.requestorder.status, 'open');
    });

    row('cli: iexec order unpublish', async () => {
      const { at } = await mine();
      const said = await at.raw('order', 'unpublish', '--request', '--force');
      assert.equal(said.requestorder.orderHash, hashes.request);
      const named = await at.raw('order', 'unpublish', '--dataset', hashes.dataset, '--force');
      assert.equal(named.datasetorder.orderHash, hashes.dataset);
      assert.equal((await get(`/requestorders/${hashes.request}`)).body.error, 'requestorder not found');
      assert.equal((await get(`/datasetorders/${hashes.dataset}`)).status, 404);
      assert.equal((await get(`/apporders/${hashes.app}`)).body.status, 'open');
    });

    row('cli: iexec order fill', async () => {
      const { at, app, workerpool } = await mine();
      const published = ['--app', hashes.app, '--workerpool', hashes.workerpool];
      deal = await at.raw('order', 'fill', ...published, '--force');
      assert.equal(deal.volume, '1');
      const there = await anybody.deal.show(deal.dealid);
      assert.deepEqual([there.app.pointer, there.workerpool.pointer], [app, workerpool]);
      assert.equal(there.dataset.pointer, await dataset());
      const used = await eventually('the book to follow the match', async () => {
        const { body } = await get(`/workerpoolorders/${hashes.workerpool}`);
        return body.remaining === 2 && body;
      });
      assert.equal(used.status, 'open');
    });

    row('cli: iexec order fill --params', async () => {
      const { at } = await mine();
      const params = JSON.stringify({ iexec_args: 'on the fly' });
      const filled = await at.raw('order', 'fill', '--params', params, '--force');
      const there = await anybody.deal.show(filled.dealid);
      assert.equal(JSON.parse(there.params).iexec_args, 'on the fly');
      await eventually('the book to follow the match', async () => {
        const { body } = await get(`/workerpoolorders/${hashes.workerpool}`);
        return body.remaining === 1;
      });
    });

    row('cli: iexec order show --deals', async () => {
      const { at } = await mine();
      const said = await eventually('both deals', async () => {
        const shown = await at.raw('order', 'show', '--app', hashes.app, '--deals');
        return shown.apporder.deals.count === 2 && shown;
      });
      assert.ok(said.apporder.deals.lastDeals.some(({ dealid }) => dealid === deal.dealid));
    });

    row('cli: iexec order cancel', async () => {
      const { at } = await mine();
      await at.raw('order', 'sign', '--request');
      const said = await at.raw('order', 'cancel', '--app', '--dataset', '--workerpool', '--request', '--force');
      assert.ok(said.apporder.txHash && said.workerpoolorder.txHash && said.requestorder.txHash);
      await eventually('the book to follow', async () => {
        const { body } = await get(`/apporders/${hashes.app}`);
        return body.status === 'canceled' && body.remaining === 0;
      });
      assert.match(await at.refused('order', 'fill', '--force'), /is fully consumed/);
    });
  });

  story('order books', () => {
    const books = once(async () => {
      const it = await owner();
      const { mine, app, workerpool, address } = it;
      const publishApp = async (appprice, more = {}) =>
        mine.order.publishApporder(
          await mine.order.signApporder(await mine.order.createApporder({ app, appprice, ...more })),
        );
      it.apps = [await publishApp(2), await publishApp(1)];
      it.privately = await publishApp(0, { requesterrestrict: address });
      const offer = await mine.order.createWorkerpoolorder({ workerpool, workerpoolprice: 3, category: 4, trust: 2, volume: 5 });
      it.offer = await mine.order.publishWorkerpoolorder(await mine.order.signWorkerpoolorder(offer));
      return it;
    });

    row('cli: iexec orderbook app', async () => {
      const { at, app, apps, privately, address } = await books();
      const said = await at.raw('orderbook', 'app', app);
      assert.deepEqual(said.appOrders.map(({ orderHash }) => orderHash), apps.toReversed());
      assert.deepEqual([said.count, said.appOrders[0].price, said.appOrders[0].tag], [2, 1, TDX]);
      const own = await at.raw('orderbook', 'app', app, '--requester', address, '--tag', 'tee,tdx');
      assert.equal(own.appOrders[0].orderHash, privately);
      const untagged = await at.raw('orderbook', 'app', app, '--max-tag', 'gpu');
      assert.equal(untagged.count, 0);
    });

    row('cli: iexec orderbook workerpool', async () => {
      const { at, workerpool, offer } = await books();
      const said = await at.raw('orderbook', 'workerpool', workerpool, '--category', '4');
      assert.equal(said.count, 1);
      const [{ orderHash, price, trust, remaining, category }] = said.workerpoolOrders;
      assert.deepEqual([orderHash, price, trust, remaining, category], [offer, 3, 2, 5, 4]);
      assert.equal((await at.raw('orderbook', 'workerpool', workerpool, '--min-trust', '3')).count, 0);
    });

    row('cli: iexec app request-execution', async () => {
      const it = await books();
      const limits = ['--app-price', '2', 'nRLC', '--workerpool-price', '4', 'nRLC', '--category', '3'];
      const tag = ['--tag', 'tee,tdx', '--args', 'do it', '--force'];
      const { orderHash } = await it.at.raw('app', 'request-execution', it.app, ...limits, ...tag);
      const { body } = await get(`/requestorders/${orderHash}`);
      assert.deepEqual([body.order.appmaxprice, body.order.workerpoolmaxprice, body.order.category], [2, 4, 3]);
      assert.equal(JSON.parse(body.order.params).iexec_args, 'do it');
      it.request = orderHash;
      const cheap = ['app', 'request-execution', it.app, '--tag', 'tee,tdx', '--force'];
      const poor = new Project(await money.wallet());
      assert.match(await poor.refused(...cheap), /appmaxprice for app 0x\w+ is too low, actual best price is 1 nRLC/);
    });

    row('cli: iexec orderbook requester', async () => {
      const { at, address, request } = await books();
      const said = await at.raw('orderbook', 'requester', address, '--category', '3');
      assert.equal(said.count, 1);
      const [first] = said.requestOrders;
      assert.equal(first.orderHash, request);
      assert.equal((await at.raw('orderbook', 'requester', Wallet.createRandom().address)).count, 0);
    });

    row('cli: iexec orderbook dataset', async () => {
      const { at, mine, address, app } = await books();
      const { address: dataset } = await mine.dataset.deployDataset({
        owner: address, name: fresh('dataset'), multiaddr: '/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ', checksum,
      });
      const order = await mine.order.createDatasetorder({ dataset, datasetprice: 6, apprestrict: app, volume: 8 });
      const unchecked = { preflightCheck: false };
      const hash = await mine.order.publishDatasetorder(await mine.order.signDatasetorder(order, unchecked), unchecked);
      assert.equal((await at.raw('orderbook', 'dataset', dataset)).count, 0);
      const said = await at.raw('orderbook', 'dataset', dataset, '--app', app);
      const [{ orderHash, price, remaining, apprestrict, requesterrestrict }] = said.datasetOrders;
      assert.deepEqual([orderHash, price, remaining, apprestrict], [hash, 6, 8, app]);
      assert.equal(requesterrestrict, ZERO);
    });
  });
});
