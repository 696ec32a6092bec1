// The CLI's commands about running apps, deals, tasks and results.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Project } from '../support/cli.mjs';
import {
  ADMIN, development, fresh, library, market, provider, purse, readProgram, sharing, store,
} from '../support/market.mjs';
import { once, row, story } from '../support/row.mjs';
import { appOf, idlePool, unzip } from '../support/tasks.mjs';

const money = purse(13);
const anybody = library();
const inTdx = ['--tag', 'tee,tdx', '--force'];

async function requester() {
  const wallet = await money.wallet({ stake: 3_000_000_000 });
  const at = new Project(wallet);
  at.write('iexec.json', {});
  return { wallet, at, iexec: library(wallet), address: wallet.address };
}

/** The task of a run that has ended well. */
const taskOf = ({ tasks, failedTasks }) => {
  assert.equal(failedTasks, undefined);
  assert.deepEqual(tasks.map(({ status, statusName }) => [status, statusName]), [[3, 'COMPLETED']]);
  return tasks[0];
};

describe('cli: tasks', { concurrency: 2 }, () => {
  story('one run and what can be known of it', () => {
    const mine = once(async () => {
      const it = await requester();
      const { address: app } = await it.iexec.app.deployApp(await appOf(it.address));
      return Object.assign(it, { app });
    });
    let [deal, task] = [];

    row('cli: iexec app run', async () => {
      const { at, app, iexec, address } = await mine();
      await iexec.app.pushAppSecret(app, 'what only the app knows');
      await iexec.secrets.pushRequesterSecret('word', 'what only the requester knows');
      const said = await at.raw('app', 'run', app, ...inTdx, '--args', 'one two', '--secret', '1=word');
      ([deal] = said.deals);
      assert.equal(deal.volume, '1');
      const there = await anybody.deal.show(deal.dealid);
      assert.deepEqual([there.app.pointer, there.requester], [app, address]);
      assert.equal(JSON.parse(there.params).iexec_args, 'one two');
      task = there.tasks[0];
    });

    row('cli: iexec deal show', async () => {
      const { at, app } = await mine();
      const said = await at.raw('deal', 'show', deal.dealid);
      assert.deepEqual([said.deal.app.pointer, said.deal.tasks['0']], [app, task]);
    });

    row('cli: iexec deal show --watch', async () => {
      const { at } = await mine();
      const said = await at.raw('deal', 'show', deal.dealid, '--watch');
      assert.deepEqual([said.tasksCount, said.completedTasksCount, said.failedTasksCount], [1, 1, 0]);
      assert.equal(taskOf({ tasks: said.tasks }).taskid, task);
    });

    row('cli: iexec task show', async () => {
      const { at } = await mine();
      const said = await at.raw('task', 'show', task);
      assert.deepEqual([said.task.statusName, said.task.dealid, said.claimable], ['COMPLETED', deal.dealid, false]);
      assert.equal(said.task.results.storage, 'ipfs');
    });

    row('cli: iexec task show --download', async () => {
      const { at } = await mine();
      const said = await at.raw('task', 'show', task, '--download', 'mine');
      assert.equal(said.resultPath, at.path('mine.zip'));
      const files = await unzip(at.read('mine.zip'));
      const printed = files['stdout.txt'].split('\n');
      assert.ok(printed.includes('one') && printed.includes('two'), files['stdout.txt']);
      assert.ok(printed.includes('IEXEC_REQUESTER_SECRET_1=what only the requester knows'));
      assert.ok(printed.includes('IEXEC_APP_DEVELOPER_SECRET=what only the app knows'));
      assert.ok(printed.some((line) => line.toLowerCase() === `iexec_task_id=${task}`));
      // The digest on chain is that of the file which the program declared to be its result.
      const { resultDigest } = await anybody.task.show(task);
      const digest = createHash('sha256').update(files['stdout.txt']).digest('hex');
      assert.equal(resultDigest, `0x${digest}`);
    });

    row('cli: iexec task debug', async () => {
      const { at } = await mine();
      const { onchainData, offchainData } = await at.raw('task', 'debug', task);
      assert.equal(onchainData.statusName, 'COMPLETED');
      assert.equal(offchainData.task.status, 'COMPLETED');
      assert.ok(offchainData.task.statusHistory.length >= 3);
      const [replicate] = offchainData.replicates;
      assert.equal(replicate.status, 'COMPLETED');
      assert.equal(onchainData.contributors[0], replicate.worker);
    });

    row('cli: iexec task debug --logs', async () => {
      const { at } = await mine();
      const { appLogs } = await at.raw('task', 'debug', task, '--logs');
      assert.equal(appLogs.length, 1);
      assert.match(appLogs[0].stdout, /^one$/m);
      assert.match(appLogs[0].stderr, /echoed/);
      const stranger = new Project(await money.wallet());
      const refused = await stranger.raw('task', 'debug', task, '--logs');
      assert.equal(refused.appLogs, undefined);
    });
  });

  story('a market app, run and watched', () => {
    row('cli: iexec app run --watch', async () => {
      const { at } = await requester();
      const app = market.apps.find(({ name }) => name === 'wordcount').address;
      const url = `/ipfs/${await store(Buffer.from('to be or not to be'))}`;
      const pool = market.workerpools[0].address;
      const said = await at.raw('app', 'run', app, ...inTdx, '--watch', '--workerpool', pool, '--args', '2',
        '--input-files', new URL(url, market.origin));
      const { taskid } = taskOf(said);
      const download = await at.raw('task', 'show', taskid, '--download', '--watch');
      const files = await unzip(at.read(`${taskid}.zip`));
      assert.equal(download.resultPath, at.path(`${taskid}.zip`));
      assert.match(files['stdout.txt'], /\bto\b/);
      assert.match(files['stdout.txt'], /\bbe\b/);
    });
  });

  story('a sealed result of a sealed dataset', () => {
    const mine = once(requester);
    let task;

    row('cli: iexec app run --dataset --encrypt-result', async () => {
      const { at, iexec, address } = await mine();
      await at.raw('dataset', 'init', '--encrypted');
      at.write('datasets/original/book.txt', 'a rose is a rose is a rose');
      const { encryptedFiles: [file] } = await at.raw('dataset', 'encrypt', '--force');
      const cid = await store(at.read('datasets', 'encrypted', 'book.txt.enc'));
      at.edit('iexec.json', (it) => Object.assign(it.dataset, {
        name: fresh('book'), multiaddr: `/ipfs/${cid}`, checksum: file.checksum,
      }));
      const { address: dataset } = await at.raw('dataset', 'deploy');
      await at.raw('dataset', 'push-secret');
      await at.raw('result', 'generate-encryption-keypair', '--force');
      const { address: app } = await iexec.app.deployApp(await appOf(address));
      const run = ['app', 'run', app, ...inTdx, '--dataset', 'deployed', '--encrypt-result', '--watch'];
      at.dataset = dataset;
      assert.match(await at.refused(...run), /Beneficiary result encryption key is not set in the SMS/);
      await at.raw('result', 'push-encryption-key');
      const said = await at.raw(...run);
      task = taskOf(said).taskid;
      assert.equal((await anybody.deal.show(said.deals[0].dealid)).dataset.pointer, dataset);
    });

    row('cli: iexec task show --download --decrypt', async () => {
      const { at } = await mine();
      await at.raw('task', 'show', task, '--download', 'open', '--decrypt');
      const files = await unzip(at.read('open.zip'));
      assert.match(files['stdout.txt'], /IEXEC_DATASET_FILENAME=/);
    });

    row('cli: iexec app run reads what was sealed', async () => {
      const { at, iexec, address } = await mine();
      const { address: app } = await iexec.app.deployApp(await appOf(address, readProgram()));
      const name = at.dataset.toLowerCase();
      const said = await at.raw('app', 'run', app, ...inTdx, '--dataset', 'deployed', '--watch', '--args', name);
      const { taskid } = taskOf(said);
      await at.raw('task', 'show', taskid, '--download', 'read');
      assert.equal((await unzip(at.read('read.zip')))['stdout.txt'], 'a rose is a rose is a rose');
    });

    row('cli: iexec result decrypt', async () => {
      const { at } = await mine();
      await at.raw('task', 'show', task, '--download', 'sealed');
      assert.deepEqual(Object.keys(await unzip(at.read('sealed.zip'))).sort(), ['aes-key.rsa', 'iexec_out.zip.aes']);
      const said = await at.raw('result', 'decrypt', 'sealed.zip', '--force');
      const files = await unzip(at.read('results.zip'));
      assert.equal(said.resultsPath, at.path('results.zip'));
      assert.deepEqual(files, await unzip(at.read('open.zip')));
    });
  });

  story('deals that nobody serves', () => {
    const mine = once(async () => {
      const it = await requester();
      const admin = library(development(ADMIN));
      const category = { name: fresh('at once'), description: 'of a test', workClockTimeRef: 1 };
      const { catid } = await sharing(() => admin.hub.createCategory(category));
      const { order } = it.iexec;
      const { address: app } = await it.iexec.app.deployApp(await appOf(it.address));
      it.buy = async (category = catid) => {
        const workerpoolorder = await idlePool(it.iexec, it.address, category);
        const apporder = await order.signApporder(await order.createApporder({ app }));
        const requestorder = await order.signRequestorder(await order.createRequestorder({ app, category }));
        const { dealid } = await order.matchOrders({ apporder, workerpoolorder, requestorder });
        const { tasks, finalTime } = await anybody.deal.show(dealid);
        return { dealid, task: tasks[0], finalTime: finalTime.toNumber() };
      };
      return it;
    });
    const over = async ({ finalTime }) => {
      while (Date.now() / 1000 <= finalTime + 1) await sleep(500);
    };

    row('cli: iexec deal claim', async () => {
      const { at, buy } = await mine();
      const [deal, longer] = [await buy(), await buy(1)];
      assert.match(await at.refused('deal', 'claim', longer.dealid), /Cannot claim a deal before reaching the final time/);
      await over(deal);
      const said = await at.raw('deal', 'claim', deal.dealid);
      assert.deepEqual(said.claimed, { 0: deal.task });
      assert.equal(said.transactions[0].type, 'initializeAndClaimArray');
      assert.equal((await anybody.task.show(deal.task)).statusName, 'FAILED');
    });

    row('cli: iexec task claim', async () => {
      const { at, buy, iexec } = await mine();
      const deal = await buy();
      const client = await iexec.config.resolveContractsClient();
      await (await client.getIExecContract().initialize(deal.dealid, 0)).wait();
      await over(deal);
      const { txHash } = await at.raw('task', 'claim', deal.task);
      assert.equal((await provider.getTransactionReceipt(txHash)).status, 1);
      assert.equal((await anybody.task.show(deal.task)).status, 4);
    });

    row('cli: iexec task show --watch', async () => {
      const { at, buy } = await mine();
      const deal = await buy();
      const client = await (await mine()).iexec.config.resolveContractsClient();
      await (await client.getIExecContract().initialize(deal.dealid, 0)).wait();
      const said = await at.raw('task', 'show', deal.task, '--watch');
      assert.deepEqual([said.task.statusName, said.claimable], ['TIMEOUT', true]);
    });
  });
});
