// The official library's methods about deals and tasks that run.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Wallet } from 'ethers';
import { utils } from 'iexec';
import {
  ADMIN, PATIENCE, development, eventually, fresh, library, market, provider, purse, readProgram, sharing, store,
} from '../support/market.mjs';
import { once, row, story } from '../support/row.mjs';
import { appOf, idlePool, offer, unzip } from '../support/tasks.mjs';

const money = purse(0);
const anybody = library();

async function requester() {
  const wallet = await money.wallet({ stake: 3_000_000_000 });
  const iexec = library(wallet);
  const { address: app } = await iexec.app.deployApp(await appOf(wallet.address));
  return { wallet, iexec, address: wallet.address, app };
}

/** Buys runs of one's own app. */
async function buy({ iexec, app }, { workerpoolorder, volume = 1, ...more }) {
  const { order } = iexec;
  const apporder = await order.signApporder(await order.createApporder({ app, volume }));
  const { category, workerpoolprice } = workerpoolorder;
  const wish = await order.createRequestorder({ app, category, workerpoolmaxprice: workerpoolprice, volume, ...more });
  const requestorder = await order.signRequestorder(wish);
  const { dealid } = await order.matchOrders({ apporder, workerpoolorder, requestorder });
  const { tasks, finalTime } = await anybody.deal.show(dealid);
  return { dealid, tasks, finalTime: finalTime.toNumber() };
}

/** Everything an observable says, until it is done. */
const said = (observable) =>
  new Promise((resolve, reject) => {
    const all = [];
    const late = setTimeout(() => reject(new Error(`still going on: ${JSON.stringify(all)}`)), PATIENCE);
    observable.subscribe({
      next: (it) => all.push(it),
      error: (error) => (clearTimeout(late), reject(error)),
      complete: () => (clearTimeout(late), resolve(all)),
    });
  });

describe('library: tasks', { concurrency: 3 }, () => {
  story('runs', () => {
    const mine = once(requester);
    const bought = once(async () => {
      const it = await mine();
      return buy(it, { workerpoolorder: await offer(), volume: 2, params: { iexec_args: 'alpha beta' } });
    });
    const done = once(async () => {
      const { tasks } = await bought();
      return eventually('the task to be completed', async () => {
        const task = await anybody.task.show(tasks[0]).catch(() => undefined);
        return task?.status === 3 && task;
      });
    });

    row('library: deal.obsDeal', async () => {
      const { dealid } = await bought();
      const all = await said(await anybody.deal.obsDeal(dealid));
      const last = all.at(-1);
      assert.equal(last.message, 'DEAL_COMPLETED');
      assert.deepEqual([last.tasksCount, last.completedTasksCount, last.failedTasksCount], [2, 2, 0]);
      assert.equal(last.deal.dealid, dealid);
    });
    row('library: task.obsTask', async () => {
      const { dealid, tasks } = await bought();
      const all = await said(await anybody.task.obsTask(tasks[1], { dealid }));
      assert.deepEqual([all.at(-1).message, all.at(-1).task.status], ['TASK_COMPLETED', 3]);
    });
    row('library: task.show', async () => {
      const { dealid, tasks } = await bought();
      const task = await done();
      assert.deepEqual([task.taskid, task.dealid, task.statusName], [tasks[0], dealid, 'COMPLETED']);
      assert.equal(task.results.storage, 'ipfs');
      assert.match(task.results.location, /^\/ipfs\//);
    });
    row('library: task.fetchResults', async () => {
      const { taskid } = await done();
      const response = await anybody.task.fetchResults(taskid);
      const files = await unzip(await response.arrayBuffer());
      assert.match(files['stdout.txt'], /^alpha\nbeta$/m);
    });
    row('library: task.fetchLogs', async () => {
      const [{ iexec }, task] = [await mine(), await done()];
      const [log] = await iexec.task.fetchLogs(task.taskid);
      assert.equal(log.worker, task.contributors[0]);
      assert.match(log.stdout, /^alpha$/m);
      assert.match(log.stderr, /echoed/);
      const other = library(await money.wallet());
      await assert.rejects(other.task.fetchLogs(task.taskid), /Only task requester 0x\w+ can access replicates logs/);
    });
    row('library: task.fetchOffchainInfo', async () => {
      const task = await done();
      const { task: known, replicates } = await anybody.task.fetchOffchainInfo(task.taskid);
      assert.equal(known.status, 'COMPLETED');
      const history = known.statusHistory.map(({ status }) => status);
      assert.deepEqual([history[0], history.at(-1)], ['RECEIVED', 'COMPLETED']);
      assert.deepEqual(replicates.map(({ worker }) => worker), [task.contributors[0]]);
    });
    row('scheduler: GET /tasks/:taskid/logs for others', async () => {
      const task = await done();
      const { workerpool } = await anybody.deal.show(task.dealid);
      const api = await anybody.workerpool.getWorkerpoolApiUrl(workerpool.pointer);
      const url = new URL(`/tasks/${task.taskid}/logs`, api);
      assert.ok([401, 403].includes((await fetch(url)).status));
      const { address } = Wallet.createRandom();
      const forged = `0x${'1'.repeat(64)}_0x${'2'.repeat(130)}_${address}`;
      assert.ok([401, 403].includes((await fetch(url, { headers: { Authorization: forged } })).status));
      assert.equal((await fetch(new URL(`/tasks/0x${'3'.repeat(64)}`, api))).status, 404);
    });
  });

  story('sealed', () => {
    row('utils: decryptResult', async () => {
      const it = await requester();
      const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      await it.iexec.result.pushResultEncryptionKey(publicKey.export({ type: 'spki', format: 'pem' }));
      const params = { iexec_args: 'sealed', iexec_result_encryption: true };
      const { tasks, dealid } = await buy(it, { workerpoolorder: await offer(), params });
      await said(await anybody.task.obsTask(tasks[0], { dealid }));
      const response = await it.iexec.task.fetchResults(tasks[0]);
      const sealed = await response.arrayBuffer();
      const open = await utils.decryptResult(sealed, privateKey.export({ type: 'pkcs8', format: 'pem' }));
      assert.match((await unzip(open))['stdout.txt'], /^sealed$/m);
      const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' });
      await assert.rejects(utils.decryptResult(sealed, other), /Failed to decrypt/);
    });
  });

  story('bulk', () => {
    /** A sealed dataset of somebody, who lets anybody use it in bulk for nothing. */
    async function given(iexec, owner, text) {
      const key = iexec.dataset.generateEncryptionKey();
      const sealed = Buffer.from(await iexec.dataset.encrypt(Buffer.from(text), key));
      const checksum = await iexec.dataset.computeEncryptedFileChecksum(sealed);
      const multiaddr = `/ipfs/${await store(sealed)}`;
      const { address: dataset } = await iexec.dataset.deployDataset({ owner, name: fresh('one of many'), multiaddr, checksum });
      await iexec.dataset.pushDatasetSecret(dataset, key);
      const offered = { dataset, datasetprice: 0, volume: utils.DATASET_INFINITE_VOLUME };
      return iexec.order.signDatasetorder(await iexec.order.createDatasetorder(offered));
    }

    row('library: a bulk deal over sealed datasets', async () => {
      const { wallet, iexec, address } = await requester();
      const texts = ['the first', 'the second', 'the third'];
      const orders = [];
      for (const text of texts) orders.push(await given(iexec, address, `${text}\n`));
      const { cid, volume } = await iexec.order.prepareDatasetBulk(orders, { maxDatasetPerTask: 2, thegraphUpload: false });
      assert.equal(volume, 2);
      const { address: app } = await iexec.app.deployApp(await appOf(wallet.address, readProgram()));
      const names = orders.map(({ dataset }) => dataset).join(' ');
      const params = { bulk_cid: cid, iexec_args: names };
      const { dealid, tasks } = await buy({ iexec, app }, { workerpoolorder: await offer({ minVolume: volume }), volume, params });
      const all = await said(await anybody.deal.obsDeal(dealid));
      assert.equal(all.at(-1).message, 'DEAL_COMPLETED');
      const printed = [];
      for (const index of [0, 1]) {
        const response = await iexec.task.fetchResults(tasks[index]);
        printed.push((await unzip(await response.arrayBuffer()))['stdout.txt']);
      }
      assert.deepEqual(printed, ['the first\nthe second\n', 'the third\n']);
    });
  });

  story('deals that nobody serves', () => {
    const mine = once(async () => {
      const it = await requester();
      const category = { name: fresh('at once'), description: 'of a test', workClockTimeRef: 1 };
      const { catid } = await sharing(() => library(development(ADMIN)).hub.createCategory(category));
      it.idle = await idlePool(it.iexec, it.address, catid);
      it.slow = await idlePool(it.iexec, it.address, 1);
      return it;
    });
    const over = async ({ finalTime }) => {
      while (Date.now() / 1000 <= finalTime + 1) await sleep(500);
    };

    row('library: deal.claim', async () => {
      const it = await mine();
      const deal = await buy(it, { workerpoolorder: it.idle, volume: 2 });
      const slow = await buy(it, { workerpoolorder: it.slow });
      await assert.rejects(it.iexec.deal.claim(slow.dealid), /Cannot claim a deal before reaching the final time/);
      await over(deal);
      const { claimed } = await it.iexec.deal.claim(deal.dealid);
      assert.deepEqual(claimed, { 0: deal.tasks[0], 1: deal.tasks[1] });
      const all = await said(await anybody.deal.obsDeal(deal.dealid));
      assert.equal(all.at(-1).message, 'DEAL_TIMEDOUT');
    });
    row('library: task.claim', async () => {
      const it = await mine();
      const deal = await buy(it, { workerpoolorder: it.idle });
      const client = await it.iexec.config.resolveContractsClient();
      await (await client.getIExecContract().initialize(deal.dealid, 0)).wait();
      await over(deal);
      const hash = await it.iexec.task.claim(deal.tasks[0]);
      assert.equal((await provider.getTransactionReceipt(hash)).status, 1);
      assert.equal((await anybody.task.show(deal.tasks[0])).statusName, 'FAILED');
      await assert.rejects(it.iexec.task.claim(deal.tasks[0]), /Cannot claim a task having status FAILED/);
    });
  });
});
