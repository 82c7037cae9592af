import { accessSync, constants, mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { adapters } from '#adapters/index.js';
import { type Admin, startAdmin } from '#admin/server.js';
import { Catalog } from '#catalog/catalog.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { hostPortText, nameFilter } from '#config/fields.js';
import type { Config, RegistryConfig } from '#config/schema.js';
import { Projection } from '#istio/projection.js';
import { reasonOf } from '#model/reason.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { PolicyList } from '#policy/rules.js';
import { XdsListener } from '#sinks/xds/server.js';
import { Supervisor } from '#sources/supervisor.js';

/** A running bridge. */
export interface Pontoon {
  /** Base URL of the status page and the API. */
  readonly adminUrl: string;
  /** Addresses of the xDS servers, as `host:port`. */
  readonly xds: readonly string[];
  /** Ends everything: streams, sources, timers. */
  stop(): Promise<void>;
}

/**
 * Starts the bridge: registries → views → catalog → projection → Istio, and what looks at them.
 * @throws Error if an address cannot be listened on, or the state's directory cannot be written
 */
export async function startPontoon(config: Config, log: Logger): Promise<Pontoon> {
  const { istio, state } = config;
  if (state !== undefined) makeWritable(state.directory);
  const vips = new VipAllocator(istio.vip === 'off' ? [] : parseRanges(istio.vip.ranges));
  const catalog = new Catalog(istio, vips);
  const projection = new Projection(catalog);
  const policies = new PolicyList(config.policies);
  const supervisors = config.registries.map((registry) =>
    supervise({ ...registry, networks: config.networks }, policies, catalog, log),
  );
  const listeners = istio.xds.map(({ listen }) => new XdsListener(projection, { ...listen, log }));

  let admin: Admin | undefined;
  const stop = async (): Promise<void> => {
    await Promise.all(listeners.map((listener) => listener.close()));
    await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
    await admin?.close();
    catalog.close();
  };

  const optional = new Set(config.registries.filter(({ required }) => !required).map(({ name }) => name));
  const awaited = (): string[] => catalog.incomplete().filter((registry) => !optional.has(registry));
  const checkReady = (): void => {
    if (awaited().length === 0) for (const listener of listeners) listener.ready();
  };
  catalog.on('complete', checkReady);
  checkReady();

  try {
    const ports = await Promise.all(listeners.map((listener) => listener.listen()));
    const xds = istio.xds.map(({ listen: { host } }, index) => hostPortText({ host, port: ports[index] ?? 0 }));
    admin = await startAdmin({ config, catalog, projection, supervisors, listeners, awaited, log });
    for (const supervisor of supervisors) supervisor.start();
    return { adminUrl: admin.url, xds, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function makeWritable(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK);
  } catch (error) {
    throw new Error(`state.directory: ${directory} cannot be written: ${reasonOf(error)}`, { cause: error });
  }
}

/** A registry of the configuration, with a source that fills its view once it is started. */
export function supervise(
  registry: RegistryConfig & Pick<Partial<Config>, 'networks'>,
  policies: PolicyList,
  catalog: Catalog,
  log: Logger,
): Supervisor {
  const adapter = adapters.find(({ type }) => type === registry.type);
  if (adapter === undefined) throw new Error(`no adapter for type ${registry.type}`);
  const view = catalog.add(new RegistryPolicy({ ...registry, kinds: adapter.kinds }, policies));
  const sourceLog = log.child({ registry: registry.name });
  const source = adapter.source(registry, {
    registry: registry.name,
    log: sourceLog,
    includes: nameFilter(registry.include, registry.exclude),
  });
  return new Supervisor(source, { view, staleAfter: registry.staleAfter ?? adapter.staleAfter, log: sourceLog });
}
