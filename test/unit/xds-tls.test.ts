import { mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { Client, type ClientDuplexStream, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { VipAllocator } from '#catalog/vip.js';
import { Projection } from '#istio/projection.js';
import { DiscoveryRequest, DiscoveryResponse } from '#proto/xds/discovery.js';
import { ListenerCertificates } from '#sinks/xds/certificates.js';
import { admission, alternativeNames } from '#sinks/xds/identity.js';
import { XdsListener } from '#sinks/xds/server.js';
import { makeCertificate, makeCertificates } from '#test/servers/certificates.js';
import { until } from '#test/servers/probes.js';

const log = pino({ level: 'silent' });
const istiod = 'spiffe://cluster.local/ns/istio-system/sa/istiod-a';

describe('xDS over TLS', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-tls-'));
  const server = makeCertificates(folder);
  const clients: Client[] = [];
  const projection = new Projection(
    new Catalog({ namespace: 'pontoon', exportTo: ['*'], grace: 10_000 }, new VipAllocator([])),
  );
  const listener = new XdsListener(projection, {
    host: '127.0.0.1',
    port: 0,
    log,
    tls: {
      ...{ cert: server.cert, key: server.key, clientCa: server.ca },
      allow: ['spiffe://cluster.local/ns/istio-system/sa/istiod*', '*.mesh.example'],
    },
  });

  before(async () => {
    await listener.open();
    listener.ready();
  });
  after(async () => {
    for (const client of clients) client.close();
    await listener.close();
    rmSync(folder, { recursive: true });
  });

  function ask(certificate?: { readonly cert: string; readonly key: string }) {
    const client = new Client(
      listener.addresses[0] ?? '',
      certificate === undefined
        ? credentials.createSsl(readFileSync(server.ca))
        : credentials.createSsl(readFileSync(server.ca), readFileSync(certificate.key), readFileSync(certificate.cert)),
    );
    clients.push(client);
    const stream: ClientDuplexStream<DiscoveryRequest, DiscoveryResponse> = client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      (request: DiscoveryRequest) => Buffer.from(DiscoveryRequest.encode(request).finish()),
      (bytes: Buffer) => DiscoveryResponse.decode(bytes),
    );
    const responses: DiscoveryResponse[] = [];
    const errors: ServiceError[] = [];
    stream.on('data', (response: DiscoveryResponse) => responses.push(response));
    stream.on('error', (error: ServiceError) => errors.push(error));
    stream.write(DiscoveryRequest.fromPartial({ typeUrl: 'networking.istio.io/v1/ServiceEntry' }));
    return { stream, responses, errors };
  }

  async function refusal(certificate?: { readonly cert: string; readonly key: string }): Promise<ServiceError> {
    const { errors, responses } = ask(certificate);
    await until('the refusal', () => errors.length > 0);
    expect(responses).to.deep.equal([]);
    return errors[0] as ServiceError;
  }

  it('serves a client whose certificate is allowed, and shows who it is', async () => {
    const { responses, stream } = ask(makeCertificate(folder, 'istiod', `URI:${istiod}`));
    await until('an answer', () => responses.length > 0);
    expect(listener.clients().map(({ identity }) => identity)).to.deep.equal([istiod]);
    stream.cancel();
    const dns = ask(makeCertificate(folder, 'dns', 'DNS:one.mesh.example'));
    await until('an answer', () => dns.responses.length > 0);
    dns.stream.cancel();
  });

  it('refuses one without a certificate, one of another authority, and one that is not allowed; and counts them', async () => {
    const none = await refusal();
    expect(none.code).to.equal(status.UNAUTHENTICATED);
    expect(none.details).to.include('tls.clientCa');
    const other = await refusal(makeCertificate(folder, 'stranger', `URI:${istiod}`, 'other'));
    expect(other.code).to.equal(status.UNAUTHENTICATED);
    const wrong = await refusal(makeCertificate(folder, 'wrong', 'URI:spiffe://cluster.local/ns/shop/sa/istiod'));
    expect(wrong.code).to.equal(status.PERMISSION_DENIED);
    expect(listener.status().refused).to.deep.equal({ 'no certificate': 2, 'not allowed': 1 });
  });

  it('says which file cannot be used', () => {
    const { cert, key } = server;
    const make = (files: object) => () => new ListenerCertificates({ cert, key, ...files }, log);
    expect(make({ cert: join(folder, 'missing.pem') })).to.throw(/ENOENT.*missing\.pem/);
    expect(make({ key: server.cert })).to.throw(`${server.cert} is not a private key in PEM`);
    expect(make({ key: join(folder, 'ca.key') })).to.throw(`ca.key is not the key of ${cert}`);
    expect(make({ clientCa: key })).to.throw(`${key} is not certificates in PEM`);
  });

  it('takes renewed files over without ending a stream, also behind links that are replaced; bad ones leave what there was', async () => {
    // As Kubernetes mounts a secret: files that are links to a link to a folder.
    const mount = mkdtempSync(join(tmpdir(), 'pontoon-secret-'));
    const version = (name: string, cert: string, key: string) => {
      const versioned = mkdtempSync(join(mount, `${name}-`));
      writeFileSync(join(versioned, 'tls.crt'), readFileSync(cert));
      writeFileSync(join(versioned, 'tls.key'), readFileSync(key));
      symlinkSync(versioned, join(mount, 'next'));
      renameSync(join(mount, 'next'), join(mount, '..data'));
    };
    version('first', server.cert, server.key);
    for (const file of ['tls.crt', 'tls.key']) symlinkSync(join('..data', file), join(mount, file));
    const renewing = new XdsListener(projection, {
      ...{ host: '127.0.0.1', port: 0, log },
      tls: { cert: join(mount, 'tls.crt'), key: join(mount, 'tls.key'), allow: [], interval: 20 },
    });
    await renewing.open();
    renewing.ready();
    const [address = ''] = renewing.addresses;
    const serial = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]), ca: readFileSync(server.ca) });
        socket.once('secureConnect', () => {
          resolve(socket.getPeerCertificate().serialNumber);
          socket.destroy();
        });
        socket.once('error', reject);
      });
    const client = new Client(address, credentials.createSsl(readFileSync(server.ca)));
    clients.push(client);
    const stream = client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    const ended: unknown[] = [];
    const received: Buffer[] = [];
    stream.on('error', (error) => ended.push(error));
    stream.on('data', (bytes: Buffer) => received.push(bytes));
    const subscribe = (typeUrl: string) =>
      stream.write(Buffer.from(DiscoveryRequest.encode(DiscoveryRequest.fromPartial({ typeUrl })).finish()));
    subscribe('a');
    await until('an answer', () => received.length === 1);
    const first = await serial();

    const next = makeCertificate(folder, 'next', 'IP:127.0.0.1');
    version('mismatched', next.cert, server.key);
    await until('the refusal', () => renewing.status().certificate?.failures !== 0);
    expect(renewing.status().certificate?.error).to.match(/tls\.key is not the key of .*tls\.crt/);
    expect(await serial()).to.equal(first);

    version('renewed', next.cert, next.key);
    await until('the renewal', () => renewing.status().certificate?.renewals === 1);
    expect(renewing.status().certificate?.error).to.equal(undefined);
    expect(renewing.status().certificate?.names).to.equal('IP Address:127.0.0.1');
    expect((renewing.status().certificate?.notAfter ?? 0) - Date.now()).to.be.within(86_400_000, 3 * 86_400_000);
    expect(await serial()).to.not.equal(first);
    subscribe('b');
    await until('another answer on the old stream', () => received.length === 2);
    expect(ended).to.deep.equal([]);
    stream.cancel();
    await renewing.close();
    rmSync(mount, { recursive: true });
  });
});

describe('client identities', () => {
  const who = (allow: string[], subjectaltname: string) =>
    admission(allow)({ sslPeerCertificate: { subjectaltname, subject: {} } as never });

  it('are SPIFFE URIs and DNS names, and nothing that is made to look like them', () => {
    expect(alternativeNames('DNS:a.b, URI:spiffe://c/d, IP Address:1.2.3.4, URI:http://x')).to.deep.equal([
      'spiffe://c/d',
      'a.b',
    ]);
    expect(alternativeNames('URI:"http://x/, URI:spiffe://cluster.local/ns/a/sa/b"')).to.deep.equal([]);
  });

  it('are matched by globs: a star stays within its part', () => {
    const glob = 'spiffe://cluster.local/ns/istio-system/sa/istiod*';
    expect(who([glob], `URI:${istiod}`)).to.deep.equal({ name: istiod });
    expect(who([glob], `URI:${istiod}/more`)).to.deep.equal({ refused: 'not allowed' });
    expect(who([glob], 'URI:spiffe://other/ns/istio-system/sa/istiod')).to.deep.equal({ refused: 'not allowed' });
    expect(who(['spiffe://cluster.local/**'], `URI:${istiod}`)).to.deep.equal({ name: istiod });
    expect(who([], 'DNS:any')).to.deep.equal({ name: 'any' });
    expect(who(['a.*'], '')).to.deep.equal({ refused: 'not allowed' });
    for (const [allow, name, isAllowed] of [
      ['*.mesh.example', 'a.mesh.example', true],
      ['*.mesh.example', 'a.b.mesh.example', false],
      ['**.mesh.example', 'a.b.mesh.example', true],
      ['*', 'a.b', false],
      ['a*.mesh', 'ab.mesh', true],
      ['!evil.mesh', 'good.mesh', false],
      ['a.mesh', 'a-mesh', false],
    ] as const)
      expect(who([allow], `DNS:${name}`), `${allow}: ${name}`).to.deep.equal(
        isAllowed ? { name } : { refused: 'not allowed' },
      );
  });
});
