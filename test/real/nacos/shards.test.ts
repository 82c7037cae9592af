import { expect } from 'chai';
import { pino } from 'pino';
import { z } from 'zod';
import { nacos as adapter } from '#adapters/nacos/index.js';
import { isServed } from '#catalog/shards.js';
import { Foresight } from '#policy/foresight.js';
import { server } from './read.js';
import { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';

const serve = { from: 0, to: 15, of: 64 };
const isOurs = (host: string) => isServed(host, serve);
const plain = Array.from({ length: 40 }, (_, index) => `s${index}`);
const interfaces = Array.from({ length: 40 }, (_, index) => `com.example.S${index}`);

describe('Nacos source that serves a quarter of the shards', function () {
  this.timeout(60_000);
  const nacos = server({ version: '2.3.2' });
  let registrations: Registrations;
  let run: NacosRun | undefined;

  before(async () => {
    registrations = new Registrations(nacos());
    for (const service of plain) await registrations.register({ service, port: 9_001 });
    for (const name of interfaces)
      await registrations.register({ service: `providers:${name}:1.0:`, port: 20_880, metadata: { version: '1.0' } });
  });
  afterEach(() => run?.stop());

  async function read(more: object): Promise<string[]> {
    const foresight = new Foresight({ name: 'n', type: 'nacos', kinds: adapter.kinds }, [], isOurs);
    const fields = { servers: [nacos().address], ...more };
    const started = NacosRun.of(
      adapter.source(z.strictObject(adapter.fields).parse(fields), {
        registry: 'n',
        log: pino({ level: 'silent' }),
        includes: () => true,
        mayServe: (service) => foresight.mayServe(service),
      }),
    );
    run = started;
    await started.wait('live', ({ lastState }) => lastState?.kind === 'live');
    return [...started.services.values()].map(({ key }) => key.name).sort();
  }
  const subscribed = async (services: readonly string[]): Promise<string[]> => {
    const found: string[] = [];
    for (const service of services) if (await registrations.hasSubscriber(service)) found.push(service);
    return found.sort();
  };

  it('subscribes to the interfaces whose host is its own; and to what may be an application', async () => {
    const ours = interfaces.filter((name) => isOurs(`${name.toLowerCase()}.v-1.0.dubbo`));
    expect(await read({})).to.deep.equal([...ours, ...plain].sort());
    const providers = await subscribed(interfaces.map((name) => `providers:${name}:1.0:`));
    expect(providers).to.deep.equal(ours.map((name) => `providers:${name}:1.0:`).sort());
    expect(providers.length).to.be.within(4, 20);
  });

  it('subscribes to a quarter of all services where Dubbo is left out', async () => {
    const ours = plain.filter((name) => isOurs(`${name}.default-group.public.nacos`)).sort();
    expect(await read({ dubbo: 'off' })).to.deep.equal(ours);
    expect(ours.length).to.be.within(4, 20);
    expect(await subscribed(ours)).to.deep.equal(ours);
  });
});
