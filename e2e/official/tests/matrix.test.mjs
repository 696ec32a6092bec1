// The matrix is complete: it has a row for whatever the official packages can do, and the suite has a test for each row.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as sdk from 'iexec';
import { chain, hub, library, origin } from '../support/market.mjs';

const here = new URL('.', import.meta.url);
const matrix = JSON.parse(readFileSync(new URL('../matrix.json', here), 'utf8'));
const rows = matrix.flatMap(({ rows: some }) => some);

/** The commands that the CLI's own files declare. */
function commands() {
  const dir = new URL('../node_modules/iexec/dist/esm/cli/cmd/', here);
  return readdirSync(dir).flatMap((file) => {
    const group = file.replace(/\.js$/, '').replace('-', ' ');
    const declared = readFileSync(new URL(file, dir), 'utf8').matchAll(/\.command\('([\w-]+)[^']*'\)/g);
    return [...declared].map(([, name]) => `cli: ${group} ${name}`);
  });
}

/** The methods that the library's modules have. */
function methods() {
  const iexec = library();
  const modules = Object.keys(iexec).filter((name) => name !== 'config');
  return modules.flatMap((module) =>
    Object.keys(iexec[module])
      .filter((method) => typeof iexec[module][method] === 'function')
      .map((method) => `library: ${module}.${method}`));
}

test('suite: all of the CLI has a row', () => {
  const all = commands();
  assert.equal(all.length, 70);
  assert.deepEqual(all.filter((one) => !rows.includes(one)), []);
});

test('suite: all of the library has a row', () => {
  const all = methods();
  assert.equal(all.length, 109);
  assert.deepEqual(all.filter((one) => !rows.includes(one)), []);
  const { config } = library();
  const resolvers = Object.keys(config).filter((name) => name.startsWith('resolve')).map((name) => `config: ${name}`);
  assert.deepEqual(resolvers.filter((one) => !rows.includes(one)), []);
  const utils = Object.keys(sdk.utils).filter((name) => typeof sdk.utils[name] === 'function' && name !== 'BN');
  assert.deepEqual(utils.filter((name) => !rows.includes(`utils: ${name}`)), []);
});

test('suite: the packages are the ones of the lock', () => {
  const { version } = JSON.parse(readFileSync(new URL('../node_modules/iexec/package.json', here), 'utf8'));
  assert.equal(version, '9.0.1');
});

test('suite: chain.json leaves nothing to public defaults', () => {
  for (const key of ['host', 'sms', 'iexecGateway', 'ipfsGateway', 'compass', 'pocoSubgraph']) {
    assert.equal(new URL(chain[key]).origin, origin, key);
  }
  assert.equal(chain.hub, hub);
});

test('suite: nothing can leave this machine', () => {
  assert.match(process.env.NODE_OPTIONS ?? '', /guard\.cjs/);
  const log = join(mkdtempSync(join(tmpdir(), 'guard-')), 'log');
  const attempts = `
    const net = require('node:net'), dns = require('node:dns');
    const tried = [
      fetch('http://192.0.2.1/').then(() => 'reached', (error) => error.cause.code),
      fetch('https://gateway.example/').then(() => 'reached', (error) => error.cause.code),
      new Promise((done) => net.connect(80, '192.0.2.2').on('error', ({ code }) => done(code)).on('connect', () => done('reached'))),
      new Promise((done) => dns.lookup('registry.example', (error) => done(error.code))),
    ];
    Promise.all(tried).then((all) => console.log(JSON.stringify(all)));`;
  const env = { ...process.env, GUARD_LOG: log };
  const said = execFileSync(process.execPath, ['-e', attempts], { env, encoding: 'utf8' });
  assert.deepEqual(JSON.parse(said), Array(4).fill('ECONNREFUSED'));
  assert.ok(existsSync(log));
  const written = readFileSync(log, 'utf8');
  for (const host of ['192.0.2.1', 'gateway.example', '192.0.2.2', 'registry.example']) assert.ok(written.includes(host), host);
});
