/** What becomes of an instance: it gets traffic, keeps only its persistent sessions, or is left out. */
export type Health = 'serve' | 'drain' | 'drop';

/**
 * What the registries' own words mean, so that by default what a registry's own client would not call is dropped. No word means two things in
 * two registries, so one table serves all. A word that is not in it serves.
 */
const healthOf: ReadonlyMap<string, Health> = new Map([
  // Eureka: its clients call UP only.
  ['UP', 'serve'],
  ['DOWN', 'drop'],
  ['STARTING', 'drop'],
  ['OUT_OF_SERVICE', 'drop'],
  ['UNKNOWN', 'drop'],
  // Consul: its DNS interface answers with passing and warning.
  ['passing', 'serve'],
  ['warning', 'serve'],
  ['critical', 'drop'],
  ['maintenance', 'drop'],
  // Nacos; `disabled` is Dubbo's word, too.
  ['healthy', 'serve'],
  ['unhealthy', 'drop'],
  ['disabled', 'drop'],
  // Kubernetes: conditions of an endpoint, of which one that terminates may still serve.
  ['Ready', 'serve'],
  ['Serving', 'drain'],
  ['Terminating', 'drop'],
  ['NotReady', 'drop'],
  // Files.
  ['serve', 'serve'],
  ['drain', 'drain'],
  ['drop', 'drop'],
]);

/** What becomes of an instance in this state. */
export function health(status: string): Health {
  return healthOf.get(status) ?? 'serve';
}

/** Whether the table has a word for this state. */
export function isKnownStatus(status: string): boolean {
  return healthOf.has(status);
}

/** States that a failed health check leaves. Anything else that takes an instance out was said in so many words. */
const failing: ReadonlySet<string> = new Set(['DOWN', 'critical', 'unhealthy', 'NotReady']);

/** Whether the state may be a mistake of the registry, as a disappearance may be. */
export function isFailing(status: string): boolean {
  return failing.has(status);
}
