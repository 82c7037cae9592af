import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';

/** A workload's certificate and key, and the authority of its mesh; paths of PEM files. */
export interface Workload {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** The authority of a mesh, which gives workloads their certificates, as istiod does. */
export class MeshAuthority {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    openssl(
      'req',
      '-x509',
      ...newKey(this.#file('mesh.key')),
      '-days',
      '2',
      '-subj',
      '/O=mesh',
      '-out',
      this.#file('mesh.pem'),
    );
  }

  /** @param identity a SPIFFE URI */
  workload(name: string, identity: string): Workload {
    const [cert, key, ca] = [this.#file(`${name}.pem`), this.#file(`${name}.key`), this.#file('mesh.pem')];
    const [request, extensions] = [this.#file(`${name}.csr`), this.#file(`${name}.cnf`)];
    writeFileSync(extensions, `subjectAltName=critical,URI:${identity}\nbasicConstraints=CA:FALSE\n`);
    openssl('req', '-new', ...newKey(key), '-subj', '/', '-out', request);
    const authority = ['-CA', ca, '-CAkey', this.#file('mesh.key'), '-CAcreateserial'];
    openssl('x509', '-req', '-in', request, ...authority, '-days', '2', '-extfile', extensions, '-out', cert);
    return { cert, key, ca };
  }

  #file(name: string): string {
    return join(this.#folder, name);
  }
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}

function newKey(path: string): string[] {
  return ['-newkey', 'rsa:2048', '-nodes', '-keyout', path];
}

/** Hands a sidecar its workload's certificate and the mesh's authority over SDS, as istio-agent does. */
export class SecretServer {
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async start(workload: Workload): Promise<SecretServer> {
    const server = new Server();
    const path = '/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets';
    const typeUrl = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
    server.register<DiscoveryRequest, DiscoveryResponse>(
      path,
      (stream: ServerDuplexStream<DiscoveryRequest, DiscoveryResponse>) => {
        stream.on('data', ({ resourceNames, responseNonce }: DiscoveryRequest) => {
          // An answer that was taken.
          if (responseNonce !== '') return;
          const resources = resourceNames.map((name) => ({ typeUrl, value: Buffer.from(secret(name, workload)) }));
          stream.write(DiscoveryResponse.fromPartial({ typeUrl, versionInfo: '1', nonce: '1', resources }));
        });
        stream.on('end', () => stream.end());
        stream.on('error', () => undefined);
      },
      (response) => Buffer.from(DiscoveryResponse.encode(response).finish()),
      (bytes) => DiscoveryRequest.decode(bytes),
      'bidi',
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return new SecretServer(server, port);
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

/** An envoy.extensions.transport_sockets.tls.v3.Secret: `default` is the certificate, `ROOTCA` the authority. */
function secret(name: string, { cert, key, ca }: Workload): Uint8Array {
  const content =
    name === 'ROOTCA'
      ? message([4, message([1, inline(ca)])])
      : message([2, message([1, inline(cert)], [2, inline(key)])]);
  return Buffer.concat([message([1, Buffer.from(name)]), content]);
}

/** A DataSource. */
function inline(path: string): Uint8Array {
  return message([2, readFileSync(path)]);
}

function message(...fields: readonly (readonly [number: number, content: Uint8Array])[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const [number, content] of fields) writer.tag(number, 2).bytes(content);
  return writer.finish();
}
