import { dubboKind } from '#adapters/dubbo/index.js';
import { defineAdapter } from '#sources/contract.js';
import { fields } from './schema.js';
import { ZooKeeperSource } from './source.js';
import { zookeeperTarget } from './target.js';

export const zookeeper = defineAdapter({
  type: 'zookeeper',
  description: 'Dubbo services in ZooKeeper, registered by interface and by application, and Spring Cloud applications',
  fields,
  kinds: {
    dubbo: dubboKind,
    'spring-cloud': { host: '{{ service.name }}.zookeeper', nominalWeight: 1, protocol: 'http' },
  },
  guarded: true,
  selective: true,
  staleAfter: 60_000,
  target: zookeeperTarget,
  source: (config, context) => new ZooKeeperSource(config, context),
});
