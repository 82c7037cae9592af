import { accessSync, constants, mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import type { Parts } from '#admin/report.js';
import { type Admin, startAdmin } from '#admin/server.js';
import { Catalog } from '#catalog/catalog.js';
import { parseRanges, VipAllocator } from '#catalog/vip.js';
import { hostPortText, isSame } from '#config/fields.js';
import { gatewayPortSettings } from '#config/gateways.js';
import type { Config } from '#config/schema.js';
import { openCoordination } from '#coordination/coordination.js';
import { shardsHint } from '#istio/meshconfig.js';
import { Projection } from '#istio/projection.js';
import type { ResourceType } from '#istio/resource.js';
import { JournalFile } from '#journal/file.js';
import { Journal } from '#journal/journal.js';
import { reasonOf } from '#model/reason.js';
import { GatewayPorts } from '#publish/gatewayports.js';
import { makeDoors } from './doors.js';
import { Guarding } from './guarding.js';
import { Keeping } from './keeping.js';
import { Publishing } from './publishing.js';
import { catalogSettings, Registries, type SourceChanges } from './registries.js';
import { checkReloadable } from './reloadable.js';
import { Serving } from './serving.js';

/** A running bridge. */
export interface Pontoon {
  /** Base URL of the status page and the API. */
  readonly adminUrl: string;
  /** Addresses of the xDS servers, as `host:port`. */
  readonly xds: readonly string[];
  /**
   * Takes over another configuration, all of it or nothing. Sources whose keys are the same go on, and no endpoint is lost.
   * @throws Error if it cannot be taken over without a restart; then everything is as before
   */
  reload(config: Config): Promise<SourceChanges>;
  /** Ends everything: streams, sources, timers. */
  stop(): Promise<void>;
}

/**
 * Starts the bridge: registries → views → catalog → projection → Istio, and what looks at them.
 * @param reread reads the configuration anew, for the API; throws if it cannot be used
 * @throws Error if an address cannot be listened on, or the state's directory cannot be written
 */
export async function startPontoon(config: Config, log: Logger, reread = (): Config => config): Promise<Pontoon> {
  const { istio, state } = config;
  let current = config;
  if (state.directory !== undefined) prepare(state.directory, log);
  const vips = new VipAllocator(istio.vip === 'off' ? [] : parseRanges(istio.vip.ranges));
  const known = () => (serving.isWaiting ? undefined : registries.known());
  const keeping = new Keeping(state, known, log);
  const remembered = await keeping.remembered();
  const catalog = new Catalog(catalogSettings(config), vips, remembered);
  const coordination = openCoordination(config.coordination, {
    log,
    registries: config.registries,
    directory: state.directory,
  });
  const gatewayPorts = new GatewayPorts(coordination, log);
  const projection = new Projection(catalog, gatewayPorts);
  const file = state.directory === undefined ? undefined : new JournalFile(state.directory, log);
  const journal = new Journal(catalog, file);
  const registries = new Registries(
    catalog,
    log,
    (registry, source) => {
      journal.note(registry, 'source', 'error' in source ? `${source.kind}: ${reasonOf(source.error)}` : source.kind);
      publishing.check();
    },
    (key, instance) => publishing.isOwn(key, instance),
  );
  const publishing = new Publishing(config, {
    catalog,
    coordination,
    journal,
    isListed: (registry) => registries.isListed(registry) || guarding.isWaived(registry),
    gatewayPorts,
    unreadable: (registry) => registries.unreadable(registry),
    log,
  });
  const isComplete = (): boolean => current.registries.every(({ name }) => registries.isListed(name));
  const mayShow = (type: ResourceType): boolean => type === 'ServiceEntry' || gatewayPorts.isKnown;
  const doors = makeDoors(istio, {
    catalog,
    projection,
    coordination,
    owner: state.owner,
    isComplete,
    mayShow,
    log,
  });
  const serving = new Serving(doors.listeners);
  /** Registries that were known when the configuration changed: shards that come wait for them, be they required or not. */
  const knownBefore = new Set<string>();
  const awaited = (): string[] => {
    if (!serving.isWaiting) return [];
    const isAwaited = (name: string, required: boolean): boolean =>
      knownBefore.has(name) || (required && !guarding.isWaived(name));
    return current.registries
      .filter(({ name, required }) => !registries.isListed(name) && isAwaited(name, required))
      .map(({ name }) => name);
  };
  const checkReady = (): void => {
    if (!serving.isWaiting || awaited().length > 0) return;
    serving.complete();
    knownBefore.clear();
    showRest();
    hintAtShards();
  };
  const hintAtShards = (): void => {
    // Of a part of the shards nothing is known about the whole.
    if (current.istio.serve !== undefined) return;
    const services = [...catalog.services.values()];
    const size = { services: services.length, endpoints: services.reduce((sum, one) => sum + one.endpoints.length, 0) };
    for (const { listen, shards } of current.istio.xds) {
      const hint = shardsHint(size, shards);
      if (hint !== undefined) log.warn({ listener: hostPortText(listen) }, hint);
    }
  };
  const showRest = (): void => {
    doors.kubernetes?.ready();
    showFiles();
  };
  const showFiles = (): void => {
    if (!serving.isWaiting && gatewayPorts.isKnown) doors.files?.ready();
  };
  gatewayPorts.on('known', () => {
    for (const listener of doors.listeners) listener.known();
    showFiles();
  });
  catalog.on('complete', () => {
    checkReady();
    // What it kept since not all was known can go now.
    showFiles();
  });
  const waived = (): void => {
    for (const name of knownBefore) if (guarding.isWaived(name)) knownBefore.delete(name);
    checkReady();
    publishing.check();
  };
  const guarding = new Guarding(catalog, { coordination, journal, log, waived });

  const takeOver = async (next: Config): Promise<SourceChanges> => {
    if (isSame(current, next)) return { added: [], removed: [], restarted: [] };
    const refusal = checkReloadable(current, next);
    if (refusal !== undefined) throw new Error(`${refusal}; the configuration stays as it was`);
    const before = current;
    for (const { name } of before.registries) if (registries.isListed(name)) knownBefore.add(name);
    await serving.open(next.istio.serve);
    // Closed before anything in them is forgotten.
    await serving.serve(next.istio.serve);
    current = next;
    const changes = await registries.apply(next).catch(async (error: unknown) => {
      current = before;
      await serving.open(before.istio.serve);
      await serving.serve(before.istio.serve);
      checkReady();
      throw error;
    });
    gatewayPorts.configure(gatewayPortSettings(next));
    await publishing.apply(next);
    checkReady();
    log.info(changes, 'configuration taken over');
    journal.note('', 'configuration', 'taken over');
    return changes;
  };
  let last: Promise<unknown> = Promise.resolve();
  const reload = (next: Config): Promise<SourceChanges> => {
    // One after the other.
    const result = last.then(() => takeOver(next));
    last = result.catch(() => undefined);
    return result;
  };

  let admin: Admin | undefined;
  const stop = async (): Promise<void> => {
    await serving.close();
    await Promise.all([doors.kubernetes?.close(), doors.files?.close(), publishing.close()]);
    await registries.stop();
    await keeping.close();
    await admin?.close();
    guarding.close();
    gatewayPorts.close();
    catalog.close();
    await coordination.close();
    await file?.close();
  };

  const parts: Parts = {
    get config() {
      return current;
    },
    get supervisors() {
      return registries.supervisors();
    },
    catalog,
    guarding,
    keeping,
    publishing,
    coordination,
    projection,
    journal,
    ...doors,
    awaited,
    reload: async () => reload(reread()),
  };
  try {
    await serving.open(istio.serve);
    await serving.serve(istio.serve);
    const xds = doors.listeners.flatMap(({ addresses }) => addresses);
    admin = await startAdmin({ parts, log });
    // Before anything is shown: what is in the cluster already is on no listener.
    await doors.kubernetes?.open();
    await registries.apply(config, remembered);
    gatewayPorts.configure(gatewayPortSettings(config));
    await publishing.apply(config);
    // With something from before the start, no set is the first; but of other shards that says nothing.
    if (catalog.views().some(({ isRestored }) => isRestored)) {
      serving.complete(remembered?.serve);
      if (!serving.isWaiting) showRest();
    }
    checkReady();
    guarding.start();
    await keeping.start(catalog);
    return { adminUrl: admin.url, xds, reload, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** @throws Error if there is no such directory and none can be made; one that cannot be written now may hold a good snapshot */
function prepare(directory: string, log: Logger): void {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw new Error(`state.directory: ${directory} cannot be made: ${reasonOf(error)}`, { cause: error });
  }
  try {
    accessSync(directory, constants.W_OK);
  } catch (error) {
    log.error({ reason: reasonOf(error) }, 'state.directory cannot be written: a restart will not know what changes');
  }
}
