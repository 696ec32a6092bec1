// The shortest way through the official clients, for markets with other chain ids than the suite's own.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { Project } from '../support/cli.mjs';
import { chainId, hub, library, market, purse } from '../support/market.mjs';
import { row } from '../support/row.mjs';
import { unzip } from '../support/tasks.mjs';

const money = purse(11);

describe('smoke', { concurrency: 1 }, () => {
  row('smoke: iexec info', async () => {
    const said = await new Project().raw('info');
    assert.equal(said.hubAddress, hub);
    assert.equal(await library().config.resolveChainId(), chainId);
  });

  row('smoke: iexec app run --watch', async () => {
    const at = new Project(await money.wallet({ stake: 3_000_000_000 }));
    const app = market.apps.find(({ name }) => name === 'noop').address;
    const { tasks: [task] } = await at.raw('app', 'run', app, '--tag', 'tee,tdx', '--watch', '--force');
    assert.equal(task.statusName, 'COMPLETED');
    await at.raw('task', 'show', task.taskid, '--download', 'result');
    assert.equal((await unzip(at.read('result.zip')))['stdout.txt'], 'ok\n');
  });
});
