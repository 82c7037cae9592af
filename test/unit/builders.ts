import type { Instance, RegistryService } from '#model/service.js';

/** An instance that is as plain as can be, but for what is given. */
export function instance(address: string, port: number, more: Partial<Instance> = {}): Instance {
  return {
    id: `${address}:${port}`,
    address,
    ports: [{ name: '', protocol: 'http', number: port }],
    status: 'UP',
    weight: 1,
    zone: '',
    locality: undefined,
    network: undefined,
    metadata: {},
    changedAt: 0,
    ...more,
  };
}

/** A service of registry `r` that is as plain as can be, but for what is given. */
export function service(
  name: string,
  instances: readonly Instance[],
  more: Partial<Omit<RegistryService, 'key'>> & { key?: Partial<RegistryService['key']> } = {},
): RegistryService {
  const { key, ...rest } = more;
  return {
    kind: 'plain',
    ports: [],
    metadata: {},
    instances,
    rejected: [],
    consumers: [],
    ...rest,
    key: { registry: 'r', namespace: '', group: '', name, version: '', ...key },
  };
}

export const plainKinds = {
  plain: { host: '{{ service.name }}.test', nominalWeight: 1, protocol: 'http' },
  dubbo: { host: '{{ service.name }}.dubbo', nominalWeight: 100, protocol: 'dubbo' },
} as const;
