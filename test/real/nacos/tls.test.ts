import { expect } from 'chai';
import { reasonOf } from '#model/reason.js';
import { type Certificates, makeCertificates } from '#test/servers/certificates.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { serverFolder } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { instance, Publisher } from './publisher.js';
import { ports, read, versions } from './read.js';
import type { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';

for (const version of versions)
  describe(`Nacos ${version} with TLS`, function () {
    this.timeout(120_000);
    let certificates: Certificates;
    let nacos: Nacos;
    let recorder: NacosRun | undefined;

    before(async function () {
      await requireServers(this, version === '3.1.0' ? 'nacos3' : 'nacos2');
      this.timeout(200_000);
      certificates = makeCertificates(serverFolder('certificates'));
      nacos = await startNacos({ version, tls: certificates });
    });
    after(async () => {
      await nacos?.stop();
    });
    afterEach(async () => {
      expect(await recorder?.stop()).to.be.below(2_000);
    });

    for (const api of ['grpc', 'http'])
      it(`reads over ${api} with the authority that it is given`, async () => {
        const registrations = new Registrations(nacos);
        const service = `orders-${api}`;
        await registrations.register({ service, port: 9_001 });
        recorder = read(nacos, { api, tls: { ca: certificates.ca } });
        await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
        expect(ports(recorder.named(service))).to.deep.equal([9_001]);
        await registrations.register({ service, port: 9_002 });
        await recorder.wait('changed', (run) => ports(run.named(service))?.includes(9_002) === true);
      });

    for (const api of ['grpc', 'http'])
      it(`writes over ${api} with the authority that it is given`, async () => {
        recorder = read(nacos, { tls: { ca: certificates.ca } });
        const publisher = new Publisher(nacos, { tls: { ca: certificates.ca } });
        await publisher.write(`published-${api}`, { api }, instance('10.9.0.1', 80));
        await recorder.wait('written', (run) => ports(run.named(`published-${api}`))?.[0] === 80);
        await publisher.close();
        const wrong = new Publisher(nacos, { tls: { ca: certificates.otherCa } });
        const failure = await wrong.write('never', { api }, instance('10.9.0.1', 80)).catch(reasonOf);
        await wrong.close();
        expect(failure).to.match(/certificate/);
      });

    for (const api of ['grpc', 'http'])
      it(`reads nothing over ${api} from a server of another authority, or in the clear`, async () => {
        recorder = read(nacos, { api, tls: { ca: certificates.otherCa } });
        await recorder.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
        expect(recorder.reason).to.match(/certificate/);
        expect(recorder.listings).to.equal(0);
        await recorder.stop();
        recorder = read(nacos, { api });
        await recorder.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
        expect(recorder.listings).to.equal(0);
      });
  });
