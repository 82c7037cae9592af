import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Certificates, makeCertificates } from '#test/servers/certificates.js';
import { freePort } from '#test/servers/ports.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { Reading, urlNode, Writer } from './harness.js';

describe('ZooKeeper source over TLS', function () {
  this.timeout(60_000);
  let server: Zookeeper;
  let files: Certificates;
  let address: string;
  const name = 'shop.Secure';

  before(async function () {
    await requireServers(this, 'zookeeper');
    const folder = serverFolder('zookeeper-tls');
    files = makeCertificates(folder);
    const both = join(folder, 'both.pem');
    writeFileSync(both, readFileSync(files.key, 'utf8') + readFileSync(files.cert, 'utf8'));
    const port = await freePort();
    address = `127.0.0.1:${port}`;
    server = await startZookeeper({
      settings: {
        serverCnxnFactory: 'org.apache.zookeeper.server.NettyServerCnxnFactory',
        secureClientPort: port,
        secureClientPortAddress: '127.0.0.1',
        'ssl.keyStore.location': both,
        'ssl.keyStore.type': 'PEM',
        'ssl.trustStore.location': files.ca,
        'ssl.trustStore.type': 'PEM',
        'ssl.clientAuth': 'need',
        'ssl.hostnameVerification': false,
      },
    });
    const writer = await new Writer(server.port).open();
    await writer.create(urlNode('/dubbo', name, `dubbo://10.0.0.1:1/${name}`));
    await writer.close();
  });

  after(() => server?.stop());

  it('reads with a certificate of its own, and goes on after a restart of the server', async () => {
    const { ca, cert, key } = files;
    const reading = new Reading({ servers: [address], tls: { ca, cert, key } });
    try {
      await reading.sees(name, { '/': ['dubbo://10.0.0.1:1'] });
      await server.restart();
      await reading.is('live');
      const writer = await new Writer(server.port).open();
      await writer.create(urlNode('/dubbo', name, `dubbo://10.0.0.2:1/${name}`));
      await writer.close();
      await reading.sees(name, { '/': ['dubbo://10.0.0.1:1', 'dubbo://10.0.0.2:1'] });
      expect(reading.status.runs).to.equal(1);
    } finally {
      await reading.stop();
    }
  });

  const wrong: [string, () => object | undefined, RegExp][] = [
    ['an authority that is not to be trusted', () => ({ ca: files.otherCa }), /certificate/],
    ['a certificate for another name', () => ({ ca: files.ca, serverName: 'elsewhere.test' }), /elsewhere\.test/],
    ['no certificate of its own', () => ({ ca: files.ca }), /certificate|closed|lost|no ZooKeeper answers/],
    ['a file that is not there', () => ({ ca: '/nowhere/ca.pem' }), /ENOENT.*nowhere/],
    ['a file that is no certificate', () => ({ ca: files.ca, cert: files.key, key: files.key }), /PEM|start line/i],
    ['plain TCP', () => undefined, /no ZooKeeper answers|lost/],
  ];
  for (const [what, tls, message] of wrong)
    it(`says why it cannot with ${what}`, async () => {
      const reading = new Reading({ servers: [address], sessionTimeout: '2s', tls: tls() });
      try {
        await reading.is('failed');
        console.log(`      ${reading.status.error}`);
        expect(reading.status.error).to.match(message);
      } finally {
        await reading.stop();
      }
    });
});
