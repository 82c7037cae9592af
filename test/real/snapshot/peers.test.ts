import { X509Certificate } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, createServer as createListener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { expect } from 'chai';
import { pino } from 'pino';
import { encodeSnapshot } from '#snapshot/format.js';
import type { Known } from '#snapshot/known.js';
import { fetchFromPeers, type PeerServer, type PeerTls, startPeerServer } from '#snapshot/peers.js';
import { SharedSnapshot } from '#snapshot/shared.js';
import { makeCertificates } from '#test/servers/certificates.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { knownOf } from '../../unit/known.js';

const host = '127.0.0.1';

describe('replicas and their snapshots', () => {
  let lines: { readonly msg: string; readonly peer?: string; readonly reason?: string }[];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const ends: (() => unknown)[] = [];
  beforeEach(() => {
    lines = [];
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });

  /** A replica that knows this. */
  async function replica(known: () => Known | undefined, tls?: PeerTls): Promise<PeerServer> {
    const server = await startPeerServer({ listen: { host, port: 0 }, tls, snapshot: new SharedSnapshot(known), log });
    ends.push(() => server.close());
    return server;
  }

  /** Something else that listens. */
  async function other(listener: RequestListener): Promise<number> {
    const server: Server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    ends.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  }

  const ask = (ports: readonly number[], more: { tls?: PeerTls; timeout?: number } = {}) =>
    fetchFromPeers({ peers: ports.map((port) => ({ host, port })), log, ...more });
  const reasons = () => lines.map(({ reason }) => reason);

  it('takes the newest', async () => {
    const older = await replica(() => knownOf(50, 1_000));
    const newer = await replica(() => knownOf(60, 2_000));
    expect(await ask([older.port, newer.port])).to.deep.equal(knownOf(60, 2_000));
    expect(lines.map(({ msg, peer }) => [msg, peer])).to.deep.equal([
      ['taken over what a peer knows', `http://${host}:${newer.port}`],
    ]);
  });

  it('counts as absent who cannot be reached, is not ready, hangs, or answers with anything else', async function () {
    this.timeout(30_000);
    const good = await encodeSnapshot(knownOf(20, 9_000));
    const damaged = Buffer.from(good);
    damaged[good.length - 50] = 1 + (damaged[good.length - 50] ?? 0);
    const silent = createListener(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, host, resolve));
    ends.push(() => silent.close());
    const mebibyte = Buffer.alloc(1024 * 1024, 'pontoon-snapshot ');
    const ports = [
      await freePort(),
      (await replica(() => undefined)).port,
      (silent.address() as AddressInfo).port,
      await other((_, response) => response.end('<html>')),
      await other((_, response) => response.end(good.subarray(0, 200))),
      await other((_, response) => response.end(damaged)),
      await other((_, response) => {
        response.write(good.subarray(0, 200));
        setTimeout(() => response.destroy(), 100);
      }),
      await other((_, response) => {
        // One byte at a time: each is in time, all together are not.
        const timer = setInterval(() => response.write(good.subarray(0, 1)), 100);
        response.once('close', () => clearInterval(timer));
      }),
      await other((_, response) => {
        const more = (): boolean => response.write(mebibyte);
        response.on('drain', more);
        more();
      }),
      (await replica(() => knownOf(20, 1_000))).port,
    ];
    const begun = performance.now();
    const known = await ask(ports, { timeout: 3_000 });
    expect(performance.now() - begun).to.be.within(2_900, 15_000);
    expect(known).to.deep.equal(knownOf(20, 1_000));
    const told = (port: number | undefined) => lines.find(({ peer }) => peer?.endsWith(`:${port}`))?.reason;
    for (const [index, expected] of [
      /ECONNREFUSED/,
      /^it answered 503 not ready/,
      /^no answer in time$/,
      /^the answer is no snapshot of Pontoon: it begins with "<html>"/,
      /^the answer is cut off/,
      /^the answer is damaged/,
      /terminated|aborted|closed/,
      /^no answer in time$/,
      /^the answer is larger than|^no answer in time$/,
    ].entries())
      expect(told(ports[index]), `peer ${index}`).to.match(expected);
  });

  it('is harmless where a peer is the asking one itself, and where nobody is there', async () => {
    const own = await replica(() => undefined);
    expect(await ask([own.port])).to.equal(undefined);
    expect(await ask([])).to.equal(undefined);
    expect(reasons()).to.deep.equal(['it answered 503 not ready: not all registries are known yet']);
  });

  it('makes one snapshot for all who ask at a time', async () => {
    let made = 0;
    const { port } = await replica(() => {
      made++;
      return knownOf(2_000);
    });
    await Promise.all([ask([port]), ask([port, port]), ask([port])]);
    expect(made).to.equal(1);
  });

  it('gives nothing else', async () => {
    const { port } = await replica(() => knownOf(1));
    const status = async (path: string, init?: RequestInit) =>
      (await fetch(`http://${host}:${port}${path}`, init)).status;
    expect(await status('/snapshot')).to.equal(200);
    for (const path of ['/', '/snapshot/', '/snapshot?x', '/metrics']) expect(await status(path)).to.equal(404);
    expect(await status('/snapshot', { method: 'POST' })).to.equal(405);
  });

  it('says where it cannot listen', async () => {
    const { port } = await replica(() => undefined);
    const again = startPeerServer({ listen: { host, port }, snapshot: new SharedSnapshot(() => undefined), log });
    const failure = await again.then(
      () => undefined,
      (error: Error) => error.message,
    );
    expect(failure).to.match(/^state\.listen: cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/);
  });

  describe('with TLS', () => {
    let folder: string;
    let first: ReturnType<typeof makeCertificates>;
    let second: ReturnType<typeof makeCertificates>;
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'pontoon-peers-'));
      const made = (name: string) => makeCertificates(mkdtempSync(join(folder, name)));
      [first, second] = [made('first-'), made('second-')];
    });
    after(() => rmSync(folder, { recursive: true }));
    const of = ({ cert, key, ca }: typeof first): PeerTls => ({ cert, key, clientCa: ca });

    it('takes and gives what is known among those of one authority', async () => {
      const { port } = await replica(() => knownOf(50), of(first));
      expect(await ask([port], { tls: of(first) })).to.deep.equal(knownOf(50));
    });

    it('refuses who has a certificate of another authority, or none, or speaks without TLS', async () => {
      const { port } = await replica(() => knownOf(50), of(first));
      // Trusts the server, but is of another authority.
      expect(await ask([port], { tls: { ...of(second), clientCa: first.ca } })).to.equal(undefined);
      // Is of the right authority, but does not trust the server.
      expect(await ask([port], { tls: { ...of(first), clientCa: second.ca } })).to.equal(undefined);
      expect(await ask([port])).to.equal(undefined);
      const [, untrusted] = lines.filter(({ peer }) => peer !== undefined);
      expect(untrusted?.reason).to.match(/certificate|self-signed/);
      expect(lines.filter(({ msg }) => msg === 'a connection of a peer was refused')).to.have.length.of.at.least(2);
    });

    it('takes over renewed files', async function () {
      this.timeout(60_000);
      const files = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem'), clientCa: join(folder, 'ca.pem') };
      const install = ({ cert, key, ca }: typeof first): void => {
        for (const [from, to] of [
          [cert, files.cert],
          [key, files.key],
          [ca, files.clientCa],
        ] as const)
          copyFileSync(from, to);
      };
      install(first);
      const { port } = await replica(() => knownOf(50), files);
      const shown = () =>
        new Promise<string>((resolve, reject) => {
          const socket = connect({ host, port, rejectUnauthorized: false }, () => {
            resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? '');
            socket.destroy();
          }).on('error', reject);
        });
      const fingerprint = ({ cert }: typeof first) => new X509Certificate(readFileSync(cert)).fingerprint256;
      expect(await shown()).to.equal(fingerprint(first));
      install(second);
      await until('renewed', async () => (await shown()) === fingerprint(second));
      expect(await ask([port], { tls: of(second) })).to.deep.equal(knownOf(50));
      expect(await ask([port], { tls: of(first) })).to.equal(undefined);
    });

    it('says which file is missing', async () => {
      const tls = { ...of(first), key: join(folder, 'nope.pem') };
      const failure = (work: Promise<unknown>) =>
        work.then(
          () => '',
          (error: Error) => error.message,
        );
      expect(await failure(replica(() => undefined, tls))).to.match(/^state\.tls: ENOENT.*nope\.pem/);
      expect(await failure(ask([1], { tls }))).to.match(/ENOENT.*nope\.pem/);
    });
  });
});
