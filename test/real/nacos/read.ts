import { pino } from 'pino';
import { z } from 'zod';
import { nacos } from '#adapters/nacos/index.js';
import type { RegistryService } from '#model/service.js';
import { NacosRun } from '#test/real/nacos/recorder.js';
import { type Nacos, startNacos } from '#test/servers/nacos.js';
import { requireServers } from '#test/servers/require.js';

/** The versions that every test runs against. */
export const versions = ['2.3.2', '3.1.0'] as const;

/** Starts a source that reads this server, looking for services each half second. */
export function read(server: Nacos, config: Readonly<Record<string, unknown>> = {}): NacosRun {
  return readFrom([server.address], config);
}

/** Starts a source that reads whatever is at these addresses, looking for services each half second. */
export function readFrom(servers: readonly string[], config: Readonly<Record<string, unknown>> = {}): NacosRun {
  const fields = { servers, pollInterval: '500ms', ...config };
  const context = {
    registry: 'n',
    log: pino({ level: 'silent' }),
    includes: (name: string) => !name.startsWith('not-'),
  };
  return NacosRun.of(nacos.source(z.strictObject(nacos.fields).parse(fields), context));
}

/** Ports of a service's instances, in their order; undefined if there is no such service. */
export function ports(service: RegistryService | undefined): number[] | undefined {
  return service?.instances.map(({ ports }) => ports[0]?.number ?? 0).sort((a, b) => a - b);
}

/** Starts the server before a suite's tests and stops it behind them. */
export function server(...options: Parameters<typeof startNacos>): () => Nacos {
  let started: Nacos | undefined;
  before(async function () {
    await requireServers(this, options[0]?.version === '3.1.0' ? 'nacos3' : 'nacos2', 'nacos-client');
    this.timeout(200_000);
    started = await startNacos(...options);
  });
  after(async function () {
    this.timeout(30_000);
    await started?.stop();
  });
  return () => {
    if (started === undefined) throw new Error('the server has not been started');
    return started;
  };
}
