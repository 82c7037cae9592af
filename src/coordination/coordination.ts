import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { ConsulConfig } from '#adapters/consul/schema.js';
import type { ZooKeeperConfig } from '#adapters/zookeeper/schema.js';
import { sessionOptions } from '#adapters/zookeeper/session.js';
import type { RegistryConfig } from '#config/schema.js';
import type { CoordinationConfig } from './config.js';
import { ConsulStore } from './consul.js';
import type { Coordination } from './contract.js';
import { FileStore } from './file.js';
import type { Health } from './health.js';
import { KubernetesStore } from './kubernetes.js';
import { LocalCoordination } from './local.js';
import { PrivateStore } from './private.js';
import { SharedCoordination } from './shared.js';
import type { Store } from './store.js';
import { ZooKeeperStore } from './zookeeper.js';

export interface CoordinationContext {
  readonly log: Logger;
  /** Those of the configuration, whose servers ZooKeeper's and Consul's coordination takes. */
  readonly registries: readonly RegistryConfig[];
  /** Where the documents of one process alone outlive it; in memory only unless given. */
  readonly directory?: string | undefined;
}

/** Opens the coordination of a configuration; without one, that of this process alone. It returns at once, also while the store is away. */
export function openCoordination(
  config: CoordinationConfig | undefined,
  { log, registries, directory }: CoordinationContext,
): Coordination {
  if (config === undefined)
    return directory === undefined
      ? new LocalCoordination()
      : new SharedCoordination(() => new PrivateStore(join(directory, 'coordination'), ''), log);
  const me = `${hostname()}_${randomUUID()}`;
  return new SharedCoordination((health) => openStore(config, registries, me, health), log);
}

function openStore(
  config: CoordinationConfig,
  registries: readonly RegistryConfig[],
  me: string,
  health: Health,
): Store {
  switch (config.type) {
    case 'file':
      return new FileStore(config.directory, me);
    case 'zookeeper': {
      const registry = registryNamed<ZooKeeperConfig>(config, registries);
      return new ZooKeeperStore(() => sessionOptions(registry), config.path, health);
    }
    case 'consul':
      return new ConsulStore(registryNamed<ConsulConfig>(config, registries), config.prefix, me);
    case 'kubernetes':
      return new KubernetesStore(config, me);
  }
}

/** The configuration's check has seen that it is there. */
function registryNamed<T>(
  { registry, type }: { readonly registry: string; readonly type: string },
  registries: readonly RegistryConfig[],
): T {
  const found = registries.find((one) => one.name === registry && one.type === type);
  if (found === undefined) throw new Error(`coordination.registry: no registry of type ${type} is named "${registry}"`);
  return found as unknown as T;
}
