import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { reasonOf } from '#model/reason.js';

type CaListener = Parameters<experimental.CertificateProvider['addCaCertificateListener']>[0];
type IdentityListener = Parameters<experimental.CertificateProvider['addIdentityCertificateListener']>[0];

/** Paths of PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Authority of the clients' certificates; without it none is asked for. */
  readonly clientCa?: string | undefined;
  /** ms between looks at the files; 5,000 unless given. */
  readonly interval?: number;
}

/** A listener's certificate as the API shows it. */
export interface CertificateStatus {
  /** The names that it is for: its `subjectAltName`, or its subject. */
  readonly names: string;
  /** Who signed it. */
  readonly issuer: string;
  /** ms since 1970. */
  readonly notAfter: number;
  /** Times that renewed files were taken over, and that they could not be. */
  readonly renewals: number;
  readonly failures: number;
  /** Why the files as they are now cannot be used; undefined if they are in use. */
  readonly error: string | undefined;
}

interface Material {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
  readonly leaf: X509Certificate;
}

/** ms between looks at the files. Not a watch: Kubernetes replaces a link to their folder. */
const look = 5_000;

/**
 * The certificate, key and authority of a listener, read anew when their files change. Connections that are there go on; renewed files that cannot be
 * used leave what there was.
 */
export class ListenerCertificates implements experimental.CertificateProvider {
  readonly #files: TlsFiles;
  readonly #log: Logger;
  readonly #caListeners = new Set<CaListener>();
  readonly #identityListeners = new Set<IdentityListener>();
  readonly #reload = (): void => this.#renew();
  #material: Material;
  #renewals = 0;
  #failures = 0;
  #error: string | undefined;
  /** For all ports of the listener. */
  readonly credentials: ServerCredentials;

  /** @throws Error naming the file that cannot be read, or does not fit */
  constructor(files: TlsFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
    this.#material = read(files);
    // The authority is asked for and checked per call: a handshake that fails tells a client nothing.
    this.credentials = experimental.createCertificateProviderServerCredentials(
      this,
      files.clientCa === undefined ? null : this,
      false,
    );
    for (const path of paths(files))
      watchFile(path, { interval: files.interval ?? look, persistent: false }, this.#reload);
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener);
    process.nextTick(() => this.#tellCa(listener));
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => this.#tellIdentity(listener));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener);
  }

  status(): CertificateStatus {
    const { leaf } = this.#material;
    return {
      names: leaf.subjectAltName ?? leaf.subject,
      issuer: leaf.issuer,
      notAfter: Date.parse(leaf.validTo),
      renewals: this.#renewals,
      failures: this.#failures,
      error: this.#error,
    };
  }

  close(): void {
    for (const path of paths(this.#files)) unwatchFile(path, this.#reload);
  }

  #renew(): void {
    let next: Material;
    try {
      next = read(this.#files);
    } catch (error) {
      // The files are renewed one after the other: what does not fit yet does at the next look.
      const reason = reasonOf(error);
      // Each of the files is looked at.
      if (reason === this.#error) return;
      this.#failures++;
      this.#error = reason;
      this.#log.warn({ reason }, 'the renewed certificate of an xDS listener cannot be used; the one before stays');
      return;
    }
    this.#error = undefined;
    const { cert, key, ca } = this.#material;
    if (cert.equals(next.cert) && key.equals(next.key) && ca?.equals(next.ca ?? Buffer.alloc(0)) !== false) return;
    this.#material = next;
    this.#renewals++;
    for (const listener of this.#identityListeners) this.#tellIdentity(listener);
    for (const listener of this.#caListeners) this.#tellCa(listener);
    this.#log.info({ notAfter: next.leaf.validTo }, 'the renewed certificate of an xDS listener is in use');
  }

  #tellIdentity(listener: IdentityListener): void {
    listener({ certificate: this.#material.cert, privateKey: this.#material.key });
  }

  #tellCa(listener: CaListener): void {
    if (this.#material.ca !== undefined) listener({ caCertificate: this.#material.ca });
  }
}

function paths({ cert, key, clientCa }: TlsFiles): string[] {
  return [cert, key, ...(clientCa === undefined ? [] : [clientCa])];
}

/** @throws Error that names the file */
function read(files: TlsFiles): Material {
  const cert = readFileSync(files.cert);
  const key = readFileSync(files.key);
  const ca = files.clientCa === undefined ? undefined : readFileSync(files.clientCa);
  const leaf = checked(files.cert, 'a certificate in PEM', () => new X509Certificate(cert));
  const privateKey = checked(files.key, 'a private key in PEM', () => createPrivateKey(key));
  if (!leaf.checkPrivateKey(privateKey)) throw new Error(`${files.key} is not the key of ${files.cert}`);
  if (ca !== undefined && files.clientCa !== undefined)
    checked(files.clientCa, 'certificates in PEM', () => new X509Certificate(ca));
  checked(files.cert, 'a chain of certificates that can be used', () => createSecureContext({ cert, key, ca }));
  return { cert, key, ca, leaf };
}

/** What a library says of a private key may hold some of it: it is not repeated. */
function checked<Result>(path: string, expected: string, make: () => Result): Result {
  try {
    return make();
  } catch {
    throw new Error(`${path} is not ${expected}`);
  }
}
