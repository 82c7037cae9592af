import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { hashCode, LeaseCollector } from '#adapters/eureka/leases.js';
import { parseAnswer } from '#adapters/eureka/parse.js';

const never = new AbortController().signal;

/** An answer of `services` × `instances`, some 1.3 kB for each instance. */
function bigAnswer(services: number, instances: number): Buffer {
  const instance = (service: number, index: number) => ({
    instanceId: `10.${service % 250}.${index % 250}.1:service-${service}:${index}`,
    hostName: `host-${service}-${index}.internal`,
    app: `SERVICE-${service}`,
    ipAddr: `10.${service % 250}.${index % 250}.1`,
    status: index === 0 ? 'DOWN' : 'UP',
    overriddenStatus: 'UNKNOWN',
    port: { $: 8080, '@enabled': 'true' },
    securePort: { $: 443, '@enabled': 'false' },
    dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
    metadata: { version: 'v1', zone: 'z1', note: 'x'.repeat(850) },
    lastUpdatedTimestamp: '1795385902734',
    actionType: 'ADDED',
  });
  const application = Array.from({ length: services }, (_, service) => ({
    name: `SERVICE-${service}`,
    instance: Array.from({ length: instances }, (_, index) => instance(service, index)),
  }));
  const apps__hashcode = `DOWN_${services}_UP_${services * (instances - 1)}_`;
  return Buffer.from(JSON.stringify({ applications: { versions__delta: '1', apps__hashcode, application } }));
}

async function failure(body: Buffer): Promise<string> {
  try {
    await parseAnswer(body, () => {}, never);
  } catch (error) {
    return (error as Error).message;
  }
  return 'no error';
}

describe('Eureka: parse', () => {
  for (const [what, pack] of [
    ['plain', (body: Buffer) => Buffer.from(body)],
    ['gzipped', (body: Buffer) => gzipSync(body, { level: 1 })],
  ] as const)
    it(`reads 50 MB, ${what}, without holding up the event loop`, async function () {
      this.timeout(120_000);
      const plain = bigAnswer(2_000, 20);
      expect(plain.length).to.be.greaterThan(48_000_000);
      let [singleShot, stall] = [0, 0];
      // Neighbours on the machine stall it, too: once without is enough.
      for (let attempt = 0; attempt < 5 && stall >= singleShot / 2; attempt++) {
        singleShot = await longestStall(async () => void JSON.parse(plain.toString()));
        const collector = new LeaseCollector();
        let told = '';
        // The worker takes the answer's memory.
        const body = pack(plain);
        stall = await longestStall(async () => {
          told = await parseAnswer(body, (part) => collector.add(part), never);
        });
        expect(told).to.equal('DOWN_2000_UP_38000_');
        expect(hashCode(collector.leases)).to.equal(told);
        expect(collector.leases.size).to.equal(2_000);
        expect([...(collector.leases.get('SERVICE-1999')?.keys() ?? [])]).to.have.length(20);
        console.log(`      longest stall ${stall.toFixed(0)} ms; JSON.parse in one go ${singleShot.toFixed(0)} ms`);
      }
      expect(stall).to.be.lessThan(singleShot / 2);
    });

  it('says how what is no answer begins', async () => {
    expect(await failure(Buffer.from('<html><body>Sign in</body></html>'))).to.equal(
      'not JSON (33 bytes, starting <html><body>Sign in</body></html>)',
    );
    expect(await failure(Buffer.alloc(0))).to.equal('an empty body instead of JSON');
    expect(await failure(Buffer.from('null'))).to.include('not a Eureka answer');
    expect(await failure(Buffer.from('{"applications":{"apps__hashcode":"UP_1_","applic'))).to.include('not JSON');
  });

  it('fails for a big answer that is cut off, and for a cut off archive', async () => {
    const plain = bigAnswer(100, 20);
    expect(await failure(plain.subarray(0, plain.length - 10))).to.include('not JSON');
    expect(await failure(gzipSync(plain).subarray(0, 20_000))).to.not.equal('no error');
  });

  it('ends its worker when it is aborted', async () => {
    const reason = await parseAnswer(bigAnswer(500, 20), () => {}, AbortSignal.timeout(5)).catch(
      (error: Error) => error,
    );
    expect(reason).to.be.instanceOf(Error).with.property('name', 'TimeoutError');
  });
});

/** ms of the event loop's longest stall meanwhile. */
async function longestStall(work: () => Promise<void>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await sleep(20);
  await work();
  await sleep(20);
  delay.disable();
  return delay.max / 1e6;
}
