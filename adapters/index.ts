import type { Adapter } from '#sources/contract.js';
import { consul } from './consul/index.js';
import { eureka } from './eureka/index.js';
import { file } from './file/index.js';
import { istiod } from './istiod/index.js';
import { kubernetes } from './kubernetes/index.js';
import { nacos } from './nacos/index.js';
import { zookeeper } from './zookeeper/index.js';

/** Every kind of registry that Pontoon reads, in the order in which the documentation names them. */
export const adapters: readonly Adapter[] = [eureka, nacos, zookeeper, consul, kubernetes, istiod, file];
