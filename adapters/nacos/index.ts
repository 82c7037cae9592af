import { dubboKind } from '#adapters/dubbo/index.js';
import { defineAdapter } from '#sources/contract.js';
import { decodeService } from './decode.js';
import { connectGrpc } from './grpc.js';
import { connectHttp } from './http.js';
import { fields } from './schema.js';
import { NacosSource } from './source.js';
import { nacosTarget } from './target.js';

/** Reads and writes Nacos: see README.md. */
export const nacos = defineAdapter({
  type: 'nacos',
  description: 'Services of Nacos 1, 2 and 3',
  fields,
  kinds: {
    nacos: {
      host: '{{ service.name }}.{{ service.group }}.{{ service.namespace }}.nacos',
      nominalWeight: 1,
      protocol: 'http',
    },
    dubbo: dubboKind,
  },
  guarded: true,
  selective: true,
  staleAfter: 60_000,
  target: nacosTarget,
  source: (config, context) =>
    new NacosSource({
      context,
      connect: (config.api === 'grpc' ? connectGrpc : connectHttp)({ config, context }),
      decode: (key, info) => decodeService(key, info, config.clusters),
      dubbo: config.dubbo,
      pollInterval: config.pollInterval,
    }),
});
