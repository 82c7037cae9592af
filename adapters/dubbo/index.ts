/** What Dubbo's data means, wherever a registry keeps it. Pure: no I/O. */
export * from './application.js';
export * from './consumer.js';
export * from './fold.js';
export { dubboKind } from './kind.js';
export {
  type DubboService,
  endpointName,
  type ProviderData,
  type ProviderRecord,
  parseProvider,
  readProvider,
} from './provider.js';
export { decodeName } from './url.js';
