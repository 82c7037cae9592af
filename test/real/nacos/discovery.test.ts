import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Wire } from '#test/servers/wire.js';
import { ports, readFrom, server } from './read.js';
import type { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';

/** How many services Nacos 3 watches in one part of the list; 500 unless told otherwise. */
const watched = 20;

for (const version of ['2.3.2', '3.1.0'] as const)
  describe(`Nacos ${version}, new services with the usual intervals`, function () {
    this.timeout(120_000);
    const settings = {
      'nacos.naming.fuzzy.watch.max.pattern.match.service.count': watched,
      'nacos.naming.clean.empty-service.interval': 1_000,
      'nacos.naming.clean.empty-service.expired-time': 3_000,
    };
    const nacos = server({ version, settings });
    let wire: Wire;
    let registrations: Registrations;
    let recorder: NacosRun;

    before(async () => {
      registrations = new Registrations(nacos());
      await registrations.register({ service: 'there', port: 9_000 });
    });
    beforeEach(async () => {
      wire = await Wire.open(nacos().port, [1_000]);
    });
    afterEach(async () => {
      expect(await recorder.stop()).to.be.below(2_000);
      await wire.close();
    });

    const read = async (config: Record<string, unknown> = {}) => {
      recorder = readFrom([`127.0.0.1:${wire.port}`], { pollInterval: '5s', ...config });
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
    };
    const found = (service: string, timeout: number) =>
      recorder.wait(`${service} found`, (run) => (ports(run.named(service))?.length ?? 0) > 0, timeout);

    for (const groups of [['*'], ['DEFAULT_GROUP']])
      it(`finds them within 5 s, in groups ${groups}, and asks next to nothing meanwhile`, async () => {
        await read({ groups });
        await sleep(2_000);
        const before = wire.pieces;
        await sleep(15_000);
        // Heartbeats, and on Nacos 2 the list.
        expect(wire.pieces - before).to.be.at.most(version === '2.3.2' ? 10 : 5);
        const service = `new-${groups[0]?.length}`;
        await registrations.register({ service, port: 9_001 });
        console.log(`      found after ${Math.round(await found(service, 7_000))} ms`);
        await registrations.deregister({ service, port: 9_001 });
        await recorder.wait('gone', ({ services }) => services.size === 1, 40_000);
      });

    if (version === '3.1.0')
      it('is told of them, rather than looking', async () => {
        await read({ pollInterval: '10m' });
        await registrations.register({ service: 'told', port: 9_002 });
        await found('told', 5_000);
        await registrations.register({ service: 'not-wanted', port: 9_002 });
        await registrations.register({ service: 'told-too', port: 9_002, group: 'g2' });
        await found('told-too', 5_000);
        expect(recorder.named('not-wanted')).to.equal(undefined);
      });

    it('finds them when there are more than the server watches', async () => {
      for (let index = 0; index < watched - 2; index++)
        await registrations.register({ service: `some-${index}`, port: 9_003 });
      await read();
      for (let index = 0; index < 4; index++) {
        await registrations.register({ service: `more-${index}`, port: 9_003 });
        await found(`more-${index}`, 7_000);
      }
    });
  });
