import { expect } from 'chai';
import { GREETER } from '#test/servers/dubbo.js';
import type { Envoy } from '#test/servers/envoy.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { type Cloud, type Clouds, cloudServers, greeterHost, payHost, startClouds } from './clouds.js';

/** As a Pontoon names it that reads ZooKeeper. */
const greeterInA = `${GREETER.toLowerCase()}.dubbo`;

describe('two clouds that call each other through their edge gateways', function () {
  this.timeout(120_000);
  let clouds: Clouds;
  const startedAt = performance.now();

  const placesOf = async ({ pontoon }: Cloud, host: string): Promise<string[]> => {
    const service = await pontoon.service(host).catch(() => undefined);
    return (service?.endpoints ?? []).map(({ address, ports }) => `${address}:${Object.values(ports).join()}`);
  };
  const connections = async (edge: Envoy): Promise<number> => {
    const stats = await edge.admin('/stats?filter=listener.*downstream_cx_total');
    return [...stats.matchAll(/^listener\.[\d.]+_\d+\.downstream_cx_total: (\d+)$/gm)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );
  };
  const answers = (what: string, call: () => Promise<string>, expected: string): Promise<void> =>
    until(what, async () => (await call().catch(String)) === expected, 60_000, 200);

  before(async function () {
    await requireServers(this, ...cloudServers);
    clouds = await startClouds();
    console.log(`      started in ${Math.round((performance.now() - startedAt) / 1_000)} s`);
  });

  after(() => clouds?.stop());

  it('a Dubbo consumer in A calls a service of the mesh in B', async () => {
    const { a, b, consumer, ports } = clouds;
    await answers('greeting', () => consumer.call('a'), 'hello a from provider-in-b');
    expect(await placesOf(a, greeterInA)).to.deep.equal([`${b.gateway}:${ports[0]}`]);
    expect(await connections(b.edge)).to.be.at.least(1);
  });

  it('a workload of the mesh in B calls a Spring Cloud service in A', async () => {
    const { a, b, callPay, pay, ports } = clouds;
    await answers('payment', callPay, `200 pay 127.0.1.10:${pay.port}`);
    expect(await placesOf(b, payHost)).to.deep.equal([`${a.gateway}:${ports[0]}`]);
    expect(await connections(a.edge)).to.be.at.least(1);
  });

  it('go on when both Pontoons are killed and start anew: same ports, no call fails', async () => {
    const { a, b, consumer, callPay, pay } = clouds;
    const before = [await placesOf(a, greeterInA), await placesOf(b, payHost)];
    const failed: string[] = [];
    let calls = 0;
    let isOver = false;
    const calling = (async () => {
      while (!isOver) {
        const found = [await consumer.call('x').catch(String), await callPay().catch(String)];
        calls += found.length;
        const expected = ['hello x from provider-in-b', `200 pay 127.0.1.10:${pay.port}`];
        failed.push(...found.filter((answer, index) => answer !== expected[index]));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    await Promise.all([a.pontoon.kill(), b.pontoon.kill()]);
    await Promise.all([a.pontoon.restart(), b.pontoon.restart()]);
    for (const { pontoon } of [a, b])
      await until('istiod is back', async () => (await pontoon.clients()).length > 0, 30_000);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    isOver = true;
    await calling;
    console.log(`      ${calls} calls, ${failed.length} failed`);
    expect(failed).to.deep.equal([]);
    expect([await placesOf(a, greeterInA), await placesOf(b, payHost)]).to.deep.equal(before);
  });

  it('stop when nobody stands behind, and go on at the same port when somebody does', async () => {
    const { a, b, consumer, setGreeters } = clouds;
    const before = await placesOf(a, greeterInA);
    setGreeters(0);
    await until('nobody to call', async () => (await placesOf(a, greeterInA)).length === 0, 30_000);
    await until('failing', () =>
      consumer.call('y').then(
        () => false,
        () => true,
      ),
    );
    setGreeters(1);
    await answers('greeting', () => consumer.call('z'), 'hello z from provider-in-b');
    await until('the same place', async () => (await placesOf(a, greeterInA)).join() === before.join(), 30_000);
    expect((await b.pontoon.service(greeterHost)).endpoints).to.have.length(1);
  });
});
