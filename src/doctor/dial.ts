import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { connect, isIP, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls';
import { type ClientTls, hostPortText, readClientTls } from '#config/fields.js';
import { reasonOf } from '#model/reason.js';
import { goodUntil, namesOf, timeFault } from './certificate.js';
import type { Finding, Subject } from './finding.js';

/** A server's address, and whether it speaks TLS. */
export interface Dialled {
  readonly host: string;
  readonly port: number;
  /** Undefined: plaintext. */
  readonly tls?: ClientTls | undefined;
}

/** Resolves, connects and, with TLS, looks at the certificate. Says what goes well in one finding, and what does not in one for each fault. */
export async function dial(server: Dialled, subject: Subject, limitMs: number): Promise<Finding[]> {
  const { host, port, tls } = server;
  const address = hostPortText(server);
  if (isIP(host) === 0) {
    try {
      await within(lookup(host), limitMs);
    } catch (error) {
      return [
        subject.fail(`the name ${host} cannot be resolved: ${reasonOf(error)}`, {
          advice: 'correct the name, or this machine’s DNS',
        }),
      ];
    }
  }
  let socket: Socket;
  try {
    socket = await opened(connect({ host, port }), 'connect', limitMs);
  } catch (error) {
    const advice = 'start the server, correct the address, or open the way to it';
    return [subject.fail(`nobody can be reached at ${address}: ${reasonOf(error)}`, { advice })];
  }
  if (tls === undefined) {
    socket.destroy();
    return [subject.ok(`${address} can be reached`)];
  }
  try {
    return await lookAtTls(socket, server, tls, subject, limitMs);
  } finally {
    socket.destroy();
  }
}

async function lookAtTls(
  socket: Socket,
  server: Dialled,
  tls: ClientTls,
  subject: Subject,
  limitMs: number,
): Promise<Finding[]> {
  const address = hostPortText(server);
  const name = tls.serverName ?? server.host;
  let secure: TLSSocket;
  try {
    const files = readClientTls(tls);
    // It is judged here, so that each fault is named.
    const options = { socket, ...files, rejectUnauthorized: false, ...(isIP(name) === 0 ? { servername: name } : {}) };
    secure = await opened(connectTls(options), 'secureConnect', limitMs);
  } catch (error) {
    return [
      subject.fail(`${address} does not speak TLS with us: ${reasonOf(error)}`, {
        advice: 'check whether this port has TLS, and the files under tls',
      }),
    ];
  }
  const faults: Finding[] = [];
  const peer = secure.getPeerCertificate();
  const certificate = new X509Certificate(peer.raw);
  const what = `the certificate of ${address}`;
  const time = timeFault(certificate, subject, what);
  if (time !== undefined) faults.push(time);
  if (checkServerIdentity(name, peer) !== undefined)
    faults.push(
      subject.fail(`${what} is made out to ${namesOf(certificate)}`, {
        expected: name,
        advice: 'use one of its names, or set tls.serverName',
      }),
    );
  const { authorizationError } = secure;
  // What Node says of the time has been said.
  if (!secure.authorized && !/EXPIRED|NOT_YET_VALID/.test(String(authorizationError)))
    faults.push(
      subject.fail(`${what} is not vouched for: ${String(authorizationError)}`, {
        expected: tls.ca === undefined ? "one of the system's authorities" : `an authority in ${tls.ca}`,
        advice: 'set tls.ca to the file of its authority',
      }),
    );
  secure.destroy();
  return faults.length > 0
    ? faults
    : [subject.ok(`${address} can be reached, its certificate is ${goodUntil(certificate)}`)];
}

/** The certificate that a server shows, whoever vouches for it. @throws Error if there is none to be seen in time */
export async function certificateOf(host: string, port: number, limitMs: number): Promise<X509Certificate> {
  const secure = await opened(
    connectTls({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
    'secureConnect',
    limitMs,
  );
  const { raw } = secure.getPeerCertificate();
  secure.destroy();
  return new X509Certificate(raw);
}

/** Whether somebody listens. */
export async function accepts(host: string, port: number, limitMs: number): Promise<boolean> {
  try {
    (await opened(connect({ host, port }), 'connect', limitMs)).destroy();
    return true;
  } catch {
    return false;
  }
}

async function opened<Kind extends Socket>(
  socket: Kind,
  event: 'connect' | 'secureConnect',
  limitMs: number,
): Promise<Kind> {
  try {
    await within(
      new Promise((resolve, reject) => {
        socket
          .once(event, resolve)
          .once('error', reject)
          .once('close', () => reject(new Error('the connection was closed')));
      }),
      limitMs,
    );
    // What comes after is no news.
    socket.on('error', () => undefined);
    return socket;
  } catch (error) {
    socket.on('error', () => undefined);
    socket.destroy();
    throw error;
  }
}

/** Gives something up after a time. @throws Error that says so, or what the work throws */
export async function within<T>(work: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
