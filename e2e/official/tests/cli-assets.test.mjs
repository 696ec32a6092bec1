// The CLI's commands about projects, wallets, accounts, assets, secrets and categories.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { describe } from 'node:test';
import { Wallet } from 'ethers';
import { Project } from '../support/cli.mjs';
import {
  ADMIN, TDX, ZERO, chainId, chainJson, development, fresh, get, hub, library, market, origin, provider, purse,
} from '../support/market.mjs';
import { once, row, story } from '../support/row.mjs';

const money = purse(11);
const anybody = library();
const project = async (funds) => new Project(await money.wallet(funds));
const stranger = () => Wallet.createRandom().address;

describe('cli: assets', { concurrency: 2 }, () => {
  story('projects and wallets', () => {
    row('cli: iexec init', async () => {
      const at = new Project();
      rmSync(at.path('chain.json'));
      const said = await at.raw('init', '--unencrypted');
      assert.equal(said.configFile, 'iexec.json');
      assert.equal(at.json('iexec.json').license, 'MIT');
      assert.ok(at.json('chain.json').chains[at.json('chain.json').default]);
      const { address, privateKey } = at.json('wallet.json');
      assert.equal(new Wallet(privateKey).address, address);
      assert.equal(said.walletAddress, address);
    });

    row('cli: iexec info', async () => {
      const said = await new Project().raw('info');
      assert.equal(said.host, origin);
      assert.equal(said.hubAddress, hub);
      assert.equal(said.rlcAddress, market.contracts.rlc);
      assert.equal(said.appRegistryAddress, market.contracts.appRegistry);
      assert.equal(said.datasetRegistryAddress, market.contracts.datasetRegistry);
      assert.equal(said.workerpoolRegistryAddress, market.contracts.workerpoolRegistry);
    });

    row('cli: iexec wallet create', async () => {
      const at = new Project();
      const said = await at.raw('wallet', 'create', '--password', 'a password', '--keystoredir', at.path('keys'));
      const kept = at.json('keys', said.fileName.split('/').at(-1));
      assert.equal(`0x${kept.address}`, said.address.toLowerCase());
      const secret = ['--show-private-key', '--password', 'a password', '--keystoredir', at.path('keys')];
      const { wallet } = await at.raw('wallet', 'show', ...secret);
      assert.equal(new Wallet(wallet.privateKey).address, said.address);
    });

    row('cli: iexec wallet import', async () => {
      const at = new Project();
      const mine = Wallet.createRandom();
      const said = await at.raw('wallet', 'import', mine.privateKey, '--unencrypted');
      assert.equal(said.address, mine.address);
      assert.equal(at.json('wallet.json').privateKey, mine.privateKey);
    });

    const rich = once(() => project({ ether: '3', rlc: 5_000_000_000 }));

    row('cli: iexec wallet show', async () => {
      const at = await rich();
      const { wallet, balance } = await at.raw('wallet', 'show');
      assert.equal(wallet.address, at.wallet.address);
      assert.deepEqual([balance.ether, balance.nRLC], ['3.0', '5000000000']);
      const other = await at.raw('wallet', 'show', stranger());
      assert.equal(other.balance.wei, '0');
    });

    row('cli: iexec wallet send-ether', async () => {
      const [at, to] = [await rich(), stranger()];
      const said = await at.raw('wallet', 'send-ether', '250', 'gwei', '--to', to, '--force');
      assert.equal((await provider.getTransactionReceipt(said.txHash)).status, 1);
      assert.equal(await provider.getBalance(to), 250_000_000_000n);
    });

    row('cli: iexec wallet send-RLC', async () => {
      const [at, to] = [await rich(), stranger()];
      await at.raw('wallet', 'send-RLC', '1.5', 'RLC', '--to', to, '--force');
      assert.equal((await anybody.wallet.checkBalances(to)).nRLC.toString(), '1500000000');
    });

    row('cli: iexec wallet sweep', async () => {
      const [at, to] = [await rich(), stranger()];
      const said = await at.raw('wallet', 'sweep', '--to', to, '--force');
      assert.equal(said.errors, undefined);
      assert.ok(said.sendERC20TxHash && said.sendNativeTxHash);
      const [left, swept] = await Promise.all([at.wallet.address, to].map((one) => anybody.wallet.checkBalances(one)));
      assert.equal(left.nRLC.toString(), '0');
      assert.equal(swept.nRLC.toString(), '3500000000');
      assert.ok(swept.wei.gt(left.wei));
    });
  });

  story('accounts', () => {
    const mine = once(() => project({ rlc: 2_000_000_000 }));
    const spender = stranger();
    const stake = async () => (await anybody.account.checkBalance((await mine()).wallet.address)).stake.toString();
    const allowed = async () =>
      (await anybody.account.checkAllowance((await mine()).wallet.address, spender)).toString();

    row('cli: iexec account deposit', async () => {
      const said = await (await mine()).raw('account', 'deposit', '1', 'RLC');
      assert.equal(said.amount, '1000000000');
      assert.equal(await stake(), '1000000000');
    });

    row('cli: iexec account withdraw', async () => {
      await (await mine()).raw('account', 'withdraw', '400');
      assert.equal(await stake(), '999999600');
    });

    row('cli: iexec account show', async () => {
      const { balance } = await (await mine()).raw('account', 'show');
      assert.deepEqual(balance, { stake: '999999600', locked: '0' });
    });

    row('cli: iexec account approve', async () => {
      await (await mine()).raw('account', 'approve', '700', spender);
      assert.equal(await allowed(), '700');
    });

    row('cli: iexec account allowance', async () => {
      const { amount } = await (await mine()).raw('account', 'allowance', spender);
      assert.equal(BigInt(`0x${amount}`), 700n); // the CLI prints its big numbers in hex
    });

    row('cli: iexec account revoke', async () => {
      await (await mine()).raw('account', 'revoke', spender);
      assert.equal(await allowed(), '0');
    });
  });

  story('apps', () => {
    const mine = once(async () => {
      const at = await project();
      await at.raw('init', '--skip-wallet', '--force');
      at.write('chain.json', chainJson);
      return at;
    });
    let app;

    row('cli: iexec app init', async () => {
      const at = await mine();
      const said = await at.raw('app', 'init');
      assert.equal(said.app.owner, at.wallet.address);
      assert.equal(at.json('iexec.json').app.type, 'DOCKER');
    });

    row('cli: iexec app deploy', async () => {
      const at = await mine();
      at.edit('iexec.json', (it) => (it.app.name = fresh('an app')));
      ({ address: app } = await at.raw('app', 'deploy'));
      assert.equal(at.json('deployed.json').app[chainId], app);
      const { app: there } = await anybody.app.showApp(app);
      assert.equal(there.appName, at.json('iexec.json').app.name);
      assert.equal(there.owner, at.wallet.address);
    });

    row('cli: iexec app show', async () => {
      const at = await mine();
      const byAddress = await at.raw('app', 'show', app);
      assert.equal(byAddress.app.appMultiaddr, 'iexechub/python-hello-world:8.0.4');
      assert.deepEqual(await at.raw('app', 'show', '0'), byAddress);
      assert.deepEqual(await at.raw('app', 'show'), byAddress);
    });

    row('cli: iexec app count', async () => {
      assert.equal((await (await mine()).raw('app', 'count')).count, '1');
      const other = await (await mine()).raw('app', 'count', '--user', stranger());
      assert.equal(other.count, '0');
    });

    row('cli: iexec app push-secret', async () => {
      const at = await mine();
      await at.raw('app', 'push-secret', '--secret-value', 'an app secret');
      assert.equal(await anybody.app.checkAppSecretExists(app), true);
      const again = await at.refused('app', 'push-secret', '--secret-value', 'another');
      assert.equal(again, `Secret already exists for ${app} and can't be updated`);
      const thief = new Project(Wallet.createRandom());
      const said = await thief.refused('app', 'push-secret', stranger(), '--secret-value', 'mine');
      assert.match(said, /Wallet 0x\w+ is not allowed to set secret for 0x\w+/);
    });

    row('cli: iexec app check-secret', async () => {
      const at = await mine();
      assert.equal((await at.raw('app', 'check-secret')).isSecretSet, true);
      assert.equal((await at.raw('app', 'check-secret', stranger())).isSecretSet, false);
    });

    row('cli: iexec app publish', async () => {
      const at = await mine();
      const { orderHash } = await at.raw('app', 'publish', '--price', '3', 'nRLC', '--volume', '7', '--force');
      const { body } = await get(`/apporders/${orderHash}`);
      assert.equal(body.status, 'open');
      assert.equal(body.remaining, 7);
      assert.equal(body.order.appprice, 3);
      assert.equal(body.order.tag, TDX);
      assert.equal(body.signer, at.wallet.address);
    });

    row('cli: iexec app unpublish', async () => {
      const at = await mine();
      await at.raw('app', 'publish', '--price', '4', 'nRLC', '--force');
      const one = await at.raw('app', 'unpublish', '--force');
      assert.equal((await get(`/apporders/${one.unpublished}`)).status, 404);
      assert.equal((await get('/apporders', { app })).body.count, 1);
      const rest = await at.raw('app', 'unpublish', '--all', '--force');
      assert.equal(rest.unpublished.length, 1);
      assert.equal((await get('/apporders', { app })).body.count, 0);
    });

    row('cli: iexec app transfer', async () => {
      const [at, to] = [await mine(), stranger()];
      await at.raw('app', 'transfer', app, '--to', to, '--force');
      assert.equal((await anybody.app.showApp(app)).app.owner, to);
    });
  });

  story('datasets', () => {
    const mine = once(async () => {
      const at = await project();
      at.write('iexec.json', {});
      return at;
    });
    let dataset;

    row('cli: iexec dataset init', async () => {
      const at = await mine();
      const said = await at.raw('dataset', 'init', '--encrypted');
      assert.equal(said.dataset.owner, at.wallet.address);
      assert.equal(at.json('iexec.json').dataset.name, 'my-dataset');
      for (const folder of ['.secrets/datasets', 'datasets/original', 'datasets/encrypted']) {
        assert.ok(existsSync(at.path(folder)), folder);
      }
    });

    row('cli: iexec dataset encrypt', async () => {
      const at = await mine();
      at.write('datasets/original/book.txt', 'a book nobody may read');
      const { encryptedFiles } = await at.raw('dataset', 'encrypt', '--force');
      const [file] = encryptedFiles;
      const sealed = at.read('datasets/encrypted/book.txt.enc');
      assert.equal(file.checksum, `0x${createHash('sha256').update(sealed).digest('hex')}`);
      assert.equal(Buffer.from(at.read('.secrets/datasets/dataset.key').toString(), 'base64').length, 32);
      assert.ok(!sealed.includes('nobody'));
    });

    row('cli: iexec dataset deploy', async () => {
      const at = await mine();
      at.edit('iexec.json', (it) => (it.dataset.name = fresh('a dataset')));
      ({ address: dataset } = await at.raw('dataset', 'deploy'));
      const { dataset: there } = await anybody.dataset.showDataset(dataset);
      assert.equal(there.datasetName, at.json('iexec.json').dataset.name);
      assert.equal(at.json('deployed.json').dataset[chainId], dataset);
    });

    row('cli: iexec dataset show', async () => {
      const at = await mine();
      const shown = await at.raw('dataset', 'show', dataset);
      assert.equal(shown.dataset.owner, at.wallet.address);
      assert.equal(shown.dataset.datasetMultiaddr, '/p2p/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ');
      assert.deepEqual(await at.raw('dataset', 'show', '0'), shown);
    });

    row('cli: iexec dataset count', async () => {
      assert.equal((await (await mine()).raw('dataset', 'count')).count, '1');
    });

    row('cli: iexec dataset push-secret', async () => {
      const at = await mine();
      await at.raw('dataset', 'push-secret');
      assert.equal(await anybody.dataset.checkDatasetSecretExists(dataset), true);
      const again = await at.refused('dataset', 'push-secret');
      assert.equal(again, `Secret already exists for ${dataset} and can't be updated`);
    });

    row('cli: iexec dataset check-secret', async () => {
      const at = await mine();
      assert.equal((await at.raw('dataset', 'check-secret')).isSecretSet, true);
      assert.equal((await at.raw('dataset', 'check-secret', stranger())).isSecretSet, false);
    });

    row('cli: iexec dataset publish', async () => {
      const at = await mine();
      const restrict = stranger();
      const limits = ['--price', '2', 'nRLC', '--app-restrict', restrict];
      const { orderHash } = await at.raw('dataset', 'publish', ...limits, '--force');
      const { body } = await get(`/datasetorders/${orderHash}`);
      assert.equal(body.order.datasetprice, 2);
      assert.equal(body.order.apprestrict, restrict);
      assert.equal(body.remaining, 1_000_000);
      assert.equal(body.bulk, false);
    });

    row('cli: iexec dataset unpublish', async () => {
      const at = await mine();
      const { unpublished } = await at.raw('dataset', 'unpublish', '--force');
      assert.equal((await get(`/datasetorders/${unpublished}`)).body.error, 'datasetorder not found');
      const none = await at.refused('dataset', 'unpublish', '--force');
      assert.match(none, /no open datasetorder published by signer/);
    });

    row('cli: iexec dataset transfer', async () => {
      const [at, to] = [await mine(), stranger()];
      await at.raw('dataset', 'transfer', dataset, '--to', to, '--force');
      assert.equal((await anybody.dataset.showDataset(dataset)).dataset.owner, to);
    });
  });

  story('workerpools', () => {
    const mine = once(async () => {
      const at = await project({ rlc: 0, stake: 1_000_000 });
      at.write('iexec.json', {});
      return at;
    });
    let workerpool;

    row('cli: iexec workerpool init', async () => {
      const at = await mine();
      const said = await at.raw('workerpool', 'init');
      assert.equal(said.workerpool.owner, at.wallet.address);
      assert.deepEqual(at.json('iexec.json').workerpool, said.workerpool);
    });

    row('cli: iexec workerpool deploy', async () => {
      const at = await mine();
      at.edit('iexec.json', (it) => (it.workerpool.description = fresh('a pool')));
      ({ address: workerpool } = await at.raw('workerpool', 'deploy'));
      const { workerpool: there } = await anybody.workerpool.showWorkerpool(workerpool);
      assert.equal(there.workerpoolDescription, at.json('iexec.json').workerpool.description);
    });

    row('cli: iexec workerpool show', async () => {
      const at = await mine();
      const shown = await at.raw('workerpool', 'show', workerpool);
      assert.equal(shown.workerpool.owner, at.wallet.address);
      assert.equal(shown.apiUrl, undefined);
      assert.deepEqual(await at.raw('workerpool', 'show', '0'), shown);
      const [one] = market.workerpools;
      const known = await at.raw('workerpool', 'show', one.address);
      assert.equal(known.workerpool.workerpoolDescription, one.description);
      assert.equal(new URL(known.apiUrl).origin, origin);
    });

    row('cli: iexec workerpool count', async () => {
      assert.equal((await (await mine()).raw('workerpool', 'count')).count, '1');
    });

    row('cli: iexec workerpool publish', async () => {
      const at = await mine();
      const offer = ['--price', '5', 'nRLC', '--volume', '6', '--category', '2', '--trust', '3', '--force'];
      const { orderHash } = await at.raw('workerpool', 'publish', ...offer);
      const { body } = await get(`/workerpoolorders/${orderHash}`);
      const { workerpoolprice, category, trust, tag } = body.order;
      assert.deepEqual([workerpoolprice, category, trust, tag, body.remaining], [5, 2, 3, TDX, 6]);
      const dear = await at.refused('workerpool', 'publish', '--price', '1', 'RLC', '--force');
      assert.match(dear, /workerpool owner's stake is too low to cover required workerpool lock/);
    });

    row('cli: iexec workerpool unpublish', async () => {
      const at = await mine();
      const { unpublished } = await at.raw('workerpool', 'unpublish', '--all', '--force');
      assert.equal(unpublished.length, 1);
      assert.equal((await get('/workerpoolorders', { workerpool })).body.count, 0);
    });

    row('cli: iexec workerpool transfer', async () => {
      const [at, to] = [await mine(), stranger()];
      await at.raw('workerpool', 'transfer', workerpool, '--to', to, '--force');
      assert.equal((await anybody.workerpool.showWorkerpool(workerpool)).workerpool.owner, to);
    });
  });

  story('secrets', () => {
    const mine = once(() => project());

    row('cli: iexec requester push-secret', async () => {
      const at = await mine();
      const said = await at.raw('requester', 'push-secret', 'login', '--secret-value', 'me');
      assert.deepEqual([said.isPushed, said.name], [true, 'login']);
      assert.equal(await anybody.secrets.checkRequesterSecretExists(at.wallet.address, 'login'), true);
      const again = await at.refused('requester', 'push-secret', 'login', '--secret-value', 'you');
      assert.match(again, /already exists/);
    });

    row('cli: iexec requester check-secret', async () => {
      const at = await mine();
      assert.equal((await at.raw('requester', 'check-secret', 'login')).isSet, true);
      assert.equal((await at.raw('requester', 'check-secret', 'Login')).isSet, false);
      assert.equal((await at.raw('requester', 'check-secret', 'login', stranger())).isSet, false);
    });

    row('cli: iexec storage init', async () => {
      const at = await mine();
      const first = await at.raw('storage', 'init', 'dropbox', '--token', 'a token');
      assert.deepEqual([first.isInitialized, first.isUpdated], [true, false]);
      assert.match(await at.refused('storage', 'init', 'dropbox', '--token', 'b'), /already initialized/);
      const second = await at.raw('storage', 'init', 'dropbox', '--token', 'b token', '--force-update');
      assert.deepEqual([second.isInitialized, second.isUpdated], [true, true]);
    });

    row('cli: iexec storage check', async () => {
      const at = await mine();
      assert.equal((await at.raw('storage', 'check', 'dropbox')).isInitialized, true);
      assert.equal((await at.raw('storage', 'check', 'dropbox', '--user', stranger())).isInitialized, false);
    });

    row('cli: iexec result generate-encryption-keypair', async () => {
      const at = await mine();
      mkdirSync(at.path('.secrets'), { recursive: true });
      const said = await at.raw('result', 'generate-encryption-keypair', '--force');
      assert.match(at.read('.secrets', 'beneficiary', said.privateKeyFile).toString(), /BEGIN PRIVATE KEY/);
      assert.match(at.read('.secrets', 'beneficiary', said.publicKeyFile).toString(), /BEGIN PUBLIC KEY/);
    });

    row('cli: iexec result push-encryption-key', async () => {
      const at = await mine();
      const first = await at.raw('result', 'push-encryption-key');
      assert.deepEqual([first.isPushed, first.isUpdated], [true, false]);
      assert.match(await at.refused('result', 'push-encryption-key'), /already exists/);
      const second = await at.raw('result', 'push-encryption-key', '--force-update');
      assert.deepEqual([second.isPushed, second.isUpdated], [true, true]);
    });

    row('cli: iexec result check-encryption-key', async () => {
      const at = await mine();
      assert.equal((await at.raw('result', 'check-encryption-key')).isEncryptionKeySet, true);
      assert.equal((await at.raw('result', 'check-encryption-key', ZERO)).isEncryptionKeySet, false);
    });
  });

  story('categories', () => {
    const mine = once(async () => {
      const at = new Project(development(ADMIN));
      at.write('iexec.json', {});
      return at;
    });
    let created;

    row('cli: iexec category init', async () => {
      const { category } = await (await mine()).raw('category', 'init');
      assert.deepEqual((await mine()).json('iexec.json').category, category);
    });

    row('cli: iexec category create', async () => {
      const at = await mine();
      at.edit('iexec.json', (it) => (it.category.name = fresh('a category')));
      created = await at.raw('category', 'create');
      assert.ok(Number(created.catid) >= 5);
      const other = new Project(Wallet.createRandom());
      other.write('iexec.json', at.json('iexec.json'));
      assert.match(await other.refused('category', 'create'), /only category owner 0x\w+ can create/);
    });

    row('cli: iexec category show', async () => {
      const at = await mine();
      const { category } = await at.raw('category', 'show', created.catid);
      const { name, description } = at.json('iexec.json').category;
      assert.deepEqual([category.name, category.description, category.workClockTimeRef], [name, description, '100']);
    });

    row('cli: iexec category count', async () => {
      const { count } = await (await mine()).raw('category', 'count');
      assert.ok(Number(count) > Number(created.catid));
    });
  });
});
