import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { z } from 'zod';
import { fields } from '#adapters/eureka/schema.js';
import { EurekaSource } from '#adapters/eureka/source.js';
import { contextOf, type Running, run } from '#test/real/recorder.js';
import { type Certificates, makeCertificates } from '#test/servers/certificates.js';
import { type Eureka, startEureka } from '#test/servers/eureka.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { TestLeases } from './leases.js';

const auth = { username: 'pontoon', password: 'p@ss/wörd' };

describe('Eureka: a real server with basic auth and TLS', function () {
  this.timeout(120_000);
  let own: Omit<Certificates, 'otherCa'>;
  let server: Eureka;
  let leases: TestLeases;
  const started: Running[] = [];

  function start(more: object): Running {
    const config = z.object(fields).parse({ servers: [server.url], pollInterval: '300ms', timeout: '2s', ...more });
    const running = run(new EurekaSource(config, contextOf('eu')));
    started.push(running);
    return running;
  }

  before(async function () {
    await requireServers(this, 'eureka');
    const { otherCa: _, ...made } = makeCertificates(serverFolder('certificates'));
    own = made;
    server = await startEureka({ auth, tls: { cert: own.cert, key: own.key, clientCa: own.ca } });
    const [ca, cert, key] = [own.ca, own.cert, own.key].map((file) => readFileSync(file));
    leases = new TestLeases([server.url], { auth, tls: { ca, cert, key } as Record<string, Buffer> });
    await leases.register({ app: 'ORDERS', id: 'orders-1' });
  });

  afterEach(() => Promise.all(started.splice(0).map(({ stop }) => stop())));

  after(async () => {
    await leases?.stop();
    await server?.stop();
  });

  it('is read in full and by deltas, with user name and password of the configuration', async () => {
    const { out, until } = start({ auth, tls: own });
    await until('live', () => out.instances('ORDERS').length === 1);
    await leases.register({ app: 'ORDERS', id: 'orders-2', port: 8081 });
    await until('a second one', () => out.instances('ORDERS').length === 2);
    expect(out.causes.at(-1)).to.equal('delta');
  });

  it('is read with user name and password in the URL, percent-encoded', async () => {
    const user = `${encodeURIComponent(auth.username)}:${encodeURIComponent(auth.password)}@`;
    const { out, until } = start({ servers: [server.url.replace('//', `//${user}`)], tls: own });
    await until('live', () => out.now === 'live');
  });

  for (const [what, more] of Object.entries({
    'a wrong password': { auth: { ...auth, password: 'guess-1234' } },
    'a wrong password in the URL': { url: 'pontoon:guess-1234@' },
    'no password': {},
  }))
    it(`says what is wrong with ${what}, and shows none`, async () => {
      const servers = [server.url.replace('//', `//${'url' in more ? more.url : ''}`)];
      const { out, until } = start({ servers, tls: own, ...('auth' in more ? { auth: more.auth } : {}) });
      await until('failed', () => out.now === 'failed');
      expect(out.reason).to.equal(`${server.url}: /apps answered 401 (check the credentials)`);
    });

  it('is refused where its authority is not known', async () => {
    const { out, until } = start({ auth, tls: { cert: own.cert, key: own.key } });
    await until('failed', () => out.now === 'failed');
    expect(out.reason).to.match(/certificate/);
    expect(out.reason).to.include(server.url);
  });

  it('refuses a client without a certificate', async () => {
    const { out, until } = start({ auth, tls: { ca: own.ca } });
    await until('failed', () => out.now === 'failed');
    console.log(`      ${out.reason}`);
    expect(out.reason).to.include(server.url);
  });

  it('is read by a client that expects its name, and by none that expects another', async () => {
    const right = start({ auth, tls: { ...own, serverName: 'localhost' } });
    await right.until('live', () => right.out.now === 'live');
    const wrong = start({ auth, tls: { ...own, serverName: 'eureka.example' } });
    await wrong.until('failed', () => wrong.out.now === 'failed');
    expect(wrong.out.reason).to.include('eureka.example');
  });
});
