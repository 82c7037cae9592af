import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { Logger } from 'pino';
import { Agent } from 'undici';
import { hostPortText } from '#config/fields.js';
import type { Config } from '#config/schema.js';
import { isLoopback } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import { decodeSnapshot, readHeader, type SnapshotHeader } from './format.js';
import type { Known } from './known.js';
import type { SharedSnapshot } from './shared.js';

export type PeerTls = NonNullable<Config['state']['tls']>;
export type PeerAddress = Config['state']['peers'][number];

/** ms between looks at the certificate's files. */
const certificateLook = 5_000;
/** ms without a byte after which a connection is closed. */
const idle = 30_000;
/** Bytes of a peer's answer: what some 200,000 services take, and more. */
const mostBytes = 128 * 1024 ** 2;

/** Gives other replicas what this one knows. */
export interface PeerServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface PeerServerOptions {
  readonly listen: PeerAddress;
  /** Both sides show a certificate of one authority. Renewed files are taken over. Plain HTTP without it. */
  readonly tls?: PeerTls | undefined;
  readonly snapshot: SharedSnapshot;
  readonly log: Logger;
}

/**
 * Answers `GET /snapshot`, and nothing else, with a snapshot; 503 while there is none.
 * @throws Error if the address cannot be listened on, or a certificate cannot be used
 */
export async function startPeerServer({ listen, tls, snapshot, log }: PeerServerOptions): Promise<PeerServer> {
  const server = tls === undefined ? createServer() : secureServer(tls);
  server.on('request', answer(snapshot, log));
  server.on('tlsClientError', (error, { remoteAddress }) =>
    log.info({ from: remoteAddress, reason: reasonOf(error) }, 'a connection of a peer was refused'),
  );
  server.setTimeout(idle);
  if (tls === undefined && !isLoopback(listen.host))
    log.warn({ listen: hostPortText(listen) }, 'whoever reaches state.listen can read all services: set state.tls');
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen.port, listen.host, resolve);
    });
  } catch (error) {
    throw new Error(`state.listen: cannot listen on ${hostPortText(listen)}: ${reasonOf(error)}`, { cause: error });
  }
  const unwatch = tls === undefined ? () => undefined : followFiles(server as SecureServer, tls, log);
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      unwatch();
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(snapshot: SharedSnapshot, log: Logger): RequestListener {
  return (request, response) => {
    const send = (status: number, text: string, headers = {}) =>
      response.writeHead(status, { 'content-type': 'text/plain', ...headers }).end(`${text}\n`);
    if (request.url !== '/snapshot') return send(404, 'there is only /snapshot here');
    if (request.method !== 'GET') return send(405, 'only GET', { allow: 'GET' });
    const made = snapshot.bytes();
    if (made === undefined) return send(503, 'not ready: not all registries are known yet');
    made.then(
      (bytes) =>
        response
          .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length })
          .end(bytes),
      (error: unknown) => {
        log.error({ reason: reasonOf(error) }, 'no snapshot could be made for a peer');
        send(500, 'no snapshot could be made');
      },
    );
  };
}

function secureServer(tls: PeerTls): SecureServer {
  try {
    return createSecureServer({ ...readFiles(tls), requestCert: true, rejectUnauthorized: true });
  } catch (error) {
    throw new Error(`state.tls: ${reasonOf(error)}`, { cause: error });
  }
}

/** @returns ends it */
function followFiles(server: SecureServer, tls: PeerTls, log: Logger): () => void {
  const reload = (): void => {
    try {
      server.setSecureContext(readFiles(tls));
      log.info('the renewed certificate for peers is in use');
    } catch (error) {
      // The files are renewed one after the other: what does not fit yet does at the next one.
      log.warn({ reason: reasonOf(error) }, 'the certificate for peers cannot be renewed; the one before stays in use');
    }
  };
  const files = Object.values(tls);
  // Not a watch: Kubernetes replaces a link to their folder.
  for (const file of files) watchFile(file, { interval: certificateLook, persistent: false }, reload);
  return () => {
    for (const file of files) unwatchFile(file, reload);
  };
}

/** @throws Error of the file system, naming the file */
function readFiles({ cert, key, clientCa }: PeerTls): SecureContextOptions {
  return { cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(clientCa) };
}

export interface PeersOptions {
  readonly peers: readonly PeerAddress[];
  readonly tls?: PeerTls | undefined;
  readonly log: Logger;
  /** ms that each peer has for its whole answer; 5,000 unless given. */
  readonly timeout?: number;
}

/** What a peer answered. */
interface Answer {
  readonly peer: string;
  readonly bytes: Buffer;
  readonly header: SnapshotHeader;
}

/**
 * Asks all peers at once, and takes the newest snapshot; undefined if none has one. A peer that cannot be reached, is not ready, is too slow or answers with anything
 * else is absent, with a line in the log. One of them may be this process.
 * @throws Error if a certificate cannot be read
 */
export async function fetchFromPeers({ peers, tls, log, timeout = 5_000 }: PeersOptions): Promise<Known | undefined> {
  const agent = new Agent({ connect: { timeout, ...(tls === undefined ? {} : readFiles(tls)) } });
  const absent = (peer: string, error: unknown): undefined =>
    void log.warn({ peer, reason: reasonOf(error) }, 'a peer has no snapshot for us: it counts as absent');
  const ask = async (address: PeerAddress): Promise<Answer[]> => {
    const peer = `${tls === undefined ? 'http' : 'https'}://${hostPortText(address)}`;
    try {
      const bytes = await get(`${peer}/snapshot`, agent, timeout);
      return [{ peer, bytes, header: readHeader(bytes, 'the answer') }];
    } catch (error) {
      absent(peer, error);
      return [];
    }
  };
  try {
    const answers = (await Promise.all(peers.map(ask))).flat();
    for (const { peer, bytes } of answers.sort((a, b) => b.header.savedAt - a.header.savedAt))
      try {
        const { known, header } = decodeSnapshot(bytes, 'the answer');
        log.info({ peer, ...header }, 'taken over what a peer knows');
        return known;
      } catch (error) {
        absent(peer, error);
      }
    return undefined;
  } finally {
    await agent.destroy();
  }
}

/** @throws Error with the reason if the whole answer is not there in time, is too big, or is none */
async function get(url: string, agent: Agent, timeout: number): Promise<Buffer> {
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(new DOMException('no answer in time', 'TimeoutError')), timeout);
  try {
    const { origin, pathname } = new URL(url);
    const { statusCode, body } = await agent.request({
      origin,
      path: pathname,
      method: 'GET',
      signal: ending.signal,
    });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of body) {
      size += (part as Buffer).length;
      if (size > mostBytes) throw new Error(`the answer is larger than ${mostBytes} bytes`);
      parts.push(part as Buffer);
    }
    const bytes = Buffer.concat(parts);
    if (statusCode !== 200)
      throw new Error(`it answered ${statusCode} ${bytes.toString('utf8', 0, 100).trim()}`.trim());
    return bytes;
  } finally {
    clearTimeout(timer);
  }
}
