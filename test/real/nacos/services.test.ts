import { expect } from 'chai';
import { ports, read, server, versions } from './read.js';
import type { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';

for (const version of versions)
  for (const api of ['grpc', 'http'])
    describe(`Nacos ${version} over ${api}, what a service may hold`, function () {
      this.timeout(60_000);
      const nacos = server({ version });
      let registrations: Registrations;
      let recorder: NacosRun;

      const live = async (config: Record<string, unknown> = {}) => {
        recorder = read(nacos(), { api, ...config });
        await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      };

      before(async () => {
        registrations = new Registrations(nacos());
        // The health that is registered stays.
        await registrations.checkHealth(false);
      });
      afterEach(async () => {
        expect(await recorder.stop()).to.be.below(2_000);
      });

      it('reads all clusters, or those that are wanted', async () => {
        await registrations.register({ service: 'wide', port: 9_001 });
        await registrations.register({ service: 'wide', port: 9_002, cluster: 'A' });
        await registrations.register({ service: 'wide', port: 9_003, cluster: 'B' });
        await live();
        expect(ports(recorder.named('wide'))).to.deep.equal([9_001, 9_002, 9_003]);
        await recorder.stop();
        await live({ clusters: ['DEFAULT', 'B'] });
        expect(ports(recorder.named('wide'))).to.deep.equal([9_001, 9_003]);
        await registrations.register({ service: 'wide', port: 9_004, cluster: 'B' });
        await recorder.wait('seen', (run) => ports(run.named('wide'))?.length === 3, 10_000);
      });

      it('says which instances are sick, and that a service is below its protect threshold', async () => {
        for (const [service, threshold] of [
          ['unguarded', 0],
          ['guarded', 0.8],
        ] as const) {
          await registrations.createService(service, threshold);
          await registrations.register({ service, port: 9_001 });
          await registrations.register({ service, port: 9_002, healthy: false });
        }
        await live();
        const statuses = (service: string) => recorder.named(service)?.instances.map(({ status }) => status);
        await recorder.wait('all seen', () => statuses('guarded')?.length === 2 && statuses('unguarded')?.length === 2);
        expect(statuses('unguarded')).to.have.members(['healthy', 'unhealthy']);
        expect(recorder.named('unguarded')?.notes).to.equal(undefined);
        expect(statuses('guarded')).to.deep.equal(['healthy', 'healthy']);
        expect(recorder.named('guarded')?.notes?.[0]?.text).to.match(/protect threshold/);
        await registrations.register({ service: 'guarded', port: 9_002 });
        await recorder.wait('all well', (run) => run.named('guarded')?.notes === undefined, 10_000);
      });
    });
