// What the market's API offers beyond what the library calls: pages to their very end, the public lists, the live feed.

import assert from 'node:assert/strict';
import { after, describe } from 'node:test';
import { randomBytes } from 'node:crypto';
import { io } from 'socket.io-client';
import { TDX, chainId, eventually, fresh, get, library, market, origin, provider, purse } from '../support/market.mjs';
import { once, row, story } from '../support/row.mjs';

const money = purse(13);
const anybody = library();
const bytes32 = () => `0x${randomBytes(32).toString('hex')}`;

async function seller() {
  const wallet = await money.wallet({ stake: 100_000 });
  const iexec = library(wallet);
  const { address } = wallet;
  const app = (await iexec.app.deployApp({
    owner: address, name: fresh('app'), type: 'DOCKER', multiaddr: 'registry.example/nothing:1', checksum: bytes32(),
  })).address;
  const workerpool = (await iexec.workerpool.deployWorkerpool({ owner: address, description: fresh('pool') })).address;
  const { order } = iexec;
  const publishApp = async (more) =>
    order.publishApporder(await order.signApporder(await order.createApporder({ app, ...more })));
  const sell = async () => {
    const apporder = await order.signApporder(await order.createApporder({ app, appprice: 1 }));
    const offer = { workerpool, workerpoolprice: 4, category: 1 };
    const workerpoolorder = await order.signWorkerpoolorder(await order.createWorkerpoolorder(offer));
    const request = { app, appmaxprice: 1, workerpoolmaxprice: 4, category: 1 };
    const requestorder = await order.signRequestorder(await order.createRequestorder(request));
    const orders = { apporder, workerpoolorder, requestorder };
    return { orders, deal: await order.matchOrders(orders) };
  };
  return { iexec, address, app, workerpool, publishApp, sell };
}

describe('the market', { concurrency: 4 }, () => {
  story('pages', () => {
    const shelf = once(async () => {
      const it = await seller();
      it.hashes = [];
      for (let price = 0; price < 20; price += 1) it.hashes.push(await it.publishApp({ appprice: price }));
      return it;
    });

    row('market: orderbook more() at the page boundary', async () => {
      const { app, hashes } = await shelf();
      const first = await anybody.orderbook.fetchAppOrderbook({ app, pageSize: 10 });
      assert.equal(first.count, 20);
      const second = await first.more();
      const seen = [...first.orders, ...second.orders].map(({ orderHash }) => orderHash);
      assert.deepEqual(seen, hashes);
      // The last page is full, so there may be more; there is not.
      const third = await second.more();
      assert.deepEqual([third.orders, third.count, third.more], [[], 20, undefined]);
      const fuller = await anybody.orderbook.fetchAppOrderbook({ app, pageSize: 11 });
      const rest = await fuller.more();
      assert.deepEqual([rest.orders.length, rest.more], [9, undefined]);
    });

    row('market: a page beyond bounds is refused', async () => {
      const { app } = await shelf();
      const small = await get('/apporders', { app, pageIndex: 0, pageSize: 9 });
      assert.deepEqual([small.status, small.body.error], [400, 'pageSize must be greater than or equal to 10']);
      const none = await get('/apporders');
      assert.deepEqual([none.status, none.body.error], [400, 'app or appOwner is required']);
    });
  });

  story('public lists', () => {
    const sold = once(async () => {
      const it = await seller();
      const { deal, orders } = await it.sell();
      return { ...it, ...deal, orders };
    });

    row('market: GET /version', async () => {
      const { status, body } = await get('/version');
      assert.equal(status, 200);
      assert.match(body.version, /^\d+\.\d+\.\d+/);
    });

    row('market: GET /docs', async () => {
      const response = await fetch(`${origin}/docs`);
      assert.equal(response.status, 200);
      assert.match(response.headers.get('content-type'), /text\/html/);
    });

    row('market: GET /metrics', async () => {
      const { app, publishApp } = await sold();
      const before = (await get('/metrics')).body;
      await publishApp({ appprice: 1 });
      const { body } = await get('/metrics');
      assert.equal(body.ok, true);
      for (const key of ['lastBlock', 'checkpointBlock', 'apporders', 'datasetorders', 'workerpoolorders', 'requestorders']) {
        assert.equal(typeof body[key], 'number', key);
      }
      assert.ok(before.apporders >= 1 && app);
      const head = await provider.getBlockNumber();
      await eventually('the last block to be counted', async () => (await get('/metrics')).body.lastBlock >= head);
    });

    row('market: GET /categories', async () => {
      const { body } = await get('/categories', { maxWorkClockTimeRef: 100_000 });
      assert.ok(body.count >= 5);
      const times = body.categories.map(({ workClockTimeRef }) => workClockTimeRef);
      assert.deepEqual(times, times.toSorted((one, other) => one - other));
      const one = body.categories.find(({ catid }) => catid === 0);
      const there = await anybody.hub.showCategory(0);
      assert.deepEqual([one.name, String(one.workClockTimeRef)], [there.name, there.workClockTimeRef.toString()]);
    });

    row('market: GET /categories/:catid', async () => {
      const { body } = await get('/categories/1');
      assert.deepEqual([body.ok, body.catid, Number(body.chainId)], [true, 1, chainId]);
      assert.match(body.transactionHash, /^0x[0-9a-f]{64}$/);
      const none = await get('/categories/987654');
      assert.deepEqual([none.status, none.body], [404, { ok: false, error: 'category not found' }]);
    });

    row('market: GET /deals/:dealid', async () => {
      const { dealid, app, workerpool, address, txHash } = await sold();
      const { body } = await eventually('the deal', async () => {
        const answer = await get(`/deals/${dealid}`);
        return answer.status === 200 && answer;
      });
      assert.deepEqual([body.dealid, body.app.pointer, body.workerpool.pointer], [dealid, app, workerpool]);
      assert.deepEqual([body.requester, body.transactionHash, body.tag], [address, txHash, TDX]);
      assert.deepEqual([body.volume, body.category, body.botFirst, body.botSize], [1, 1, 0, 1]);
      const none = await get(`/deals/${bytes32()}`);
      assert.deepEqual([none.status, none.body.error], [404, 'deal not found']);
    });

    row('market: GET /deals', async () => {
      const { dealid, workerpool } = await sold();
      const { body } = await get('/deals', { workerpool });
      assert.deepEqual([body.count, body.deals[0].dealid], [1, dealid]);
    });

    row('market: GET /ohlc', async () => {
      const { dealid } = await sold();
      const { body: deal } = await get(`/deals/${dealid}`);
      const { body } = await get('/ohlc', { category: 1 });
      assert.ok(body.ohlc.length >= 1 && body.ohlc.length <= 100);
      const at = new Date(deal.blockTimestamp).getTime();
      assert.ok(body.ohlc.some(([time, price, volume]) => new Date(time).getTime() === at && price === 4 && volume === 1));
      assert.equal((await get('/ohlc')).status, 400);
    });

    row('market: several challenges of one wallet', async () => {
      const { iexec, app, publishApp } = await sold();
      // The original answers all but one of these with "invalid authorization".
      const hashes = await Promise.all([5, 6, 7, 8].map((appprice) => publishApp({ appprice })));
      assert.equal(new Set(hashes).size, 4);
      const { orders } = await iexec.orderbook.fetchAppOrderbook({ app });
      for (const hash of hashes) assert.ok(orders.some(({ orderHash }) => orderHash === hash));
    });

    row('market: an unknown chain is refused', async () => {
      const { status, body } = await get('/metrics', { chainId: 5 });
      assert.deepEqual([status, body], [400, { ok: false, error: 'chainId 5 is not supported' }]);
    });

    row('market: CORS', async () => {
      const asked = await fetch(`${origin}/apporders?chainId=${chainId}&app=any`, { headers: { Origin: 'http://page.example' } });
      assert.equal(asked.headers.get('access-control-allow-origin'), 'http://page.example');
      const headers = {
        Origin: 'http://page.example',
        'Access-Control-Request-Method': 'PUT',
        'Access-Control-Request-Headers': 'authorization,content-type',
      };
      const flight = await fetch(`${origin}/apporders`, { method: 'OPTIONS', headers });
      assert.ok(flight.ok);
      assert.match(flight.headers.get('access-control-allow-methods'), /PUT/);
      assert.match(flight.headers.get('access-control-allow-headers'), /authorization/i);
    });

    row('compass: GET /:chainId/iapps/:name', async () => {
      const { name, address } = market.apps.find((app) => app.name === 'wordcount');
      const found = await fetch(`${origin}/${chainId}/iapps/${name}`);
      assert.deepEqual(await found.json(), { name, address });
      const none = await fetch(`${origin}/${chainId}/iapps/nobody`);
      assert.deepEqual([none.status, (await none.json()).error], [404, 'iapp not found']);
    });

    row('market: GET /workerpools/:address/track-record', async () => {
      const { workerpool } = await sold();
      const { status, body } = await get(`/workerpools/${workerpool}/track-record`);
      const nothing = { completed: 0, failed: 0, successShare: null, medianLatencySeconds: null };
      assert.deepEqual([status, body.workerpool, body.trackRecord], [200, workerpool, nothing]);
    });

    row('compass: GET /:chainId/workerpools/:address', async () => {
      const [known] = market.workerpools;
      const found = await fetch(`${origin}/${chainId}/workerpools/${known.address}`);
      assert.equal(new URL((await found.json()).apiUrl).origin, origin);
      const { workerpool } = await sold();
      const none = await fetch(`${origin}/${chainId}/workerpools/${workerpool}`);
      assert.equal(none.status, 404);
      assert.match(none.headers.get('content-type'), /application\/json/);
    });
  });

  story('live feed', () => {
    const heard = { orders: [], deals: [] };
    const opened = [];
    after(() => opened.forEach((one) => one.close()));
    const socket = once(async () => {
      const made = io(origin, { path: '/ws', transports: ['websocket'], forceNew: true });
      opened.push(made);
      made.onAny((event, value) => heard[event === 'deal_created' ? 'deals' : 'orders'].push([event, value]));
      for (const topic of ['orders', 'deals']) {
        assert.equal(await made.timeout(60_000).emitWithAck('join', { chainId, topic }), true);
      }
      return made;
    });
    const told = (event, known) => eventually(`${event}`, () => heard.orders.find(([name, it]) => name === event && known(it)));
    const mine = once(seller);
    let hash;

    row('feed: apporder_published', async () => {
      await socket();
      hash = await (await mine()).publishApp({ appprice: 9 });
      const [, record] = await told('apporder_published', (it) => it.orderHash === hash);
      assert.equal(record.order.appprice, 9);
      assert.equal(record.status, 'open');
    });
    row('feed: apporder_unpublished', async () => {
      await socket();
      await (await mine()).iexec.order.unpublishApporder(hash);
      await told('apporder_unpublished', (it) => it === hash);
    });
    row('feed: workerpoolorder_updated', async () => {
      await socket();
      const { iexec, workerpool, app } = await mine();
      const { order } = iexec;
      const offer = await order.createWorkerpoolorder({ workerpool, workerpoolprice: 2, category: 1, volume: 3 });
      const workerpoolorder = await order.signWorkerpoolorder(offer);
      const published = await order.publishWorkerpoolorder(workerpoolorder);
      const apporder = await order.signApporder(await order.createApporder({ app }));
      const wish = await order.createRequestorder({ app, workerpoolmaxprice: 2, category: 1 });
      const requestorder = await order.signRequestorder(wish);
      const { dealid } = await order.matchOrders({ apporder, workerpoolorder, requestorder });
      const [, record] = await told('workerpoolorder_updated', (it) => it.orderHash === published);
      assert.equal(record.remaining, 2);
      hash = dealid;
    });
    row('feed: deal_created', async () => {
      await socket();
      const [, deal] = await eventually('the deal', () => heard.deals.find(([, it]) => it.dealid === hash));
      assert.equal(deal.requester, (await mine()).address);
    });
  });
});
