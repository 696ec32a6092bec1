// Preloaded into every Node process of this suite (NODE_OPTIONS=--require): a connection to anything but this machine
// is refused before a packet leaves, and written down in GUARD_LOG so that the suite fails even if nobody minded.
//
// It sits below every client there is: fetch, http, https and websockets all end in a net.Socket, and names are looked
// up through dns.

'use strict';

const { appendFileSync } = require('node:fs');
const dns = require('node:dns');
const net = require('node:net');

const isLoopback = (host) =>
  host === undefined || host === '' || host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

function refusal(host) {
  const log = process.env.GUARD_LOG;
  if (log) appendFileSync(log, `${host} asked for by ${process.argv.slice(1).join(' ')}\n`);
  return Object.assign(new Error(`the suite may not reach ${host}`), { code: 'ECONNREFUSED' });
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function guarded(...args) {
  // node's own callers pass [options, callback] as one normalized array
  const [first] = Array.isArray(args[0]) ? args[0] : args;
  const host = typeof first === 'object' && first !== null ? first.host : args[1];
  const named = typeof host === 'string' ? host : undefined;
  if (isLoopback(named)) return connect.apply(this, args);
  process.nextTick(() => this.destroy(refusal(named)));
  return this;
};

const lookup = dns.lookup;
dns.lookup = function guarded(host, ...rest) {
  if (isLoopback(host)) return lookup.call(this, host, ...rest);
  const done = rest.at(-1);
  process.nextTick(() => done(refusal(host)));
};
