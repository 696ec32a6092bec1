// The official CLI, as its users have it: the unmodified binary of the package, in a directory with a chain.json.

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SigningKey } from 'ethers';
import { PATIENCE, chainJson } from './market.mjs';

const binary = fileURLToPath(new URL('../node_modules/.bin/iexec', import.meta.url));

/** A project of one user: a directory of its own, in which the CLI is called. Its home is there too. */
export class Project {
  constructor(wallet) {
    this.dir = mkdtempSync(join(tmpdir(), 'official-'));
    this.home = join(this.dir, 'home');
    mkdirSync(this.home);
    this.write('chain.json', chainJson);
    if (wallet) this.as(wallet);
  }

  /** From here on this wallet acts. */
  as(wallet) {
    this.wallet = wallet;
    const { privateKey, address } = wallet;
    const publicKey = SigningKey.computePublicKey(privateKey, false);
    this.write('wallet.json', { privateKey, publicKey, address });
    return this;
  }

  /** Runs `iexec <args> --raw`; what it printed as an object. Fails if it failed. */
  async raw(...args) {
    const { code, stdout, stderr } = await this.run(...args, '--raw');
    if (code !== 0 || !stdout) throw new Error(`iexec ${args.join(' ')}: ${code}\n${stdout}${stderr}`);
    const said = JSON.parse(stdout);
    if (said.ok !== true) throw new Error(`iexec ${args.join(' ')}: ${stdout}`);
    return said;
  }

  /** Runs `iexec <args> --raw`, which must fail; the message of its failure. */
  async refused(...args) {
    const { stdout, stderr } = await this.run(...args, '--raw');
    if (!stderr) throw new Error(`iexec ${args.join(' ')} did not fail: ${stdout}`);
    const said = JSON.parse(stderr.trim().split('\n').at(-1));
    return said.error ? said.error.message : said.fail.join('; ');
  }

  /** Runs `iexec <args>` to its end, however that is. */
  run(...args) {
    const env = { ...process.env, HOME: this.home, XDG_CONFIG_HOME: join(this.home, '.config'), NO_COLOR: '1' };
    return new Promise((resolve) => {
      execFile(
        binary,
        args.map(String),
        { cwd: this.dir, env, timeout: 2 * PATIENCE, maxBuffer: 1 << 24 },
        (error, stdout, stderr) => {
          const code = error ? (error.code ?? error.signal) : 0;
          resolve({ code, stdout, stderr });
        },
      ).stdin.end();
    });
  }

  path(...parts) {
    return join(this.dir, ...parts);
  }

  read(...parts) {
    return readFileSync(this.path(...parts));
  }

  json(...parts) {
    return JSON.parse(this.read(...parts));
  }

  write(name, content) {
    const text = typeof content === 'object' && !Buffer.isBuffer(content) ? JSON.stringify(content, null, 2) : content;
    writeFileSync(this.path(name), text);
  }

  /** Changes a JSON file. */
  edit(name, change) {
    const value = this.json(name);
    change(value);
    this.write(name, value);
  }
}
