import type { ServiceKind } from '#sources/contract.js';
import { defaultWeight } from './provider.js';

/**
 * A Dubbo interface, in its version and group where set. Each has a mark of its own in the host, so that version `a` and group `a` never
 * meet. The host is the same on every registry and at both levels of registration.
 */
export const dubboKind: ServiceKind = {
  host:
    '{{ service.name }}{{ service.version == "" ? "" : ".v-" + service.version }}' +
    '{{ service.group == "" ? "" : ".g-" + service.group }}.dubbo',
  nominalWeight: defaultWeight,
  protocol: 'dubbo',
};
