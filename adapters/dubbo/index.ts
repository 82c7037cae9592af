/** What Dubbo's data means, wherever a registry keeps it. Pure: no I/O. */
export * from './application.js';
export * from './consumer.js';
export {
  conditionRouterName,
  configuratorsName,
  parseConfigurators,
  parseRouter,
  type RuleDocument,
  routerDocumentNote,
  ruleDocument,
  type ServiceNote,
} from './documents.js';
export * from './fold.js';
export { dubboKind } from './kind.js';
export {
  type DubboService,
  endpointName,
  type ProviderData,
  type ProviderRecord,
  parseProvider,
  readProvider,
  serviceOf,
} from './provider.js';
export {
  applicationOf,
  dubboProtocol,
  instanceMetadata,
  type PublishedDubbo,
  type PublishedProvider,
  providerMetadata,
  providerName,
  revisionDocument,
  revisionOf,
} from './publish.js';
export { type OverrideRecord, type OverrideRule, parseOverride } from './rules.js';
export { decodeName } from './url.js';
