import { createHash } from 'node:crypto';
import type { TestInstance } from '#test/real/contract/registry.js';
import { urlNode } from './harness.js';

/** A znode to write. */
export interface Znode {
  readonly path: string;
  readonly data: string;
}

/** How instances are written: each layout's own way, as its real clients leave it behind. */
export interface Layout {
  readonly title: string;
  /** What has to be there before an instance is. */
  before(service: string, instance: TestInstance): Znode[];
  /** The instance's own znode. */
  instance(service: string, instance: TestInstance): Znode;
  /** A record that no mesh can use. */
  malformed(service: string): Znode;
  /** Where the znodes of a service's instances are. */
  folder(service: string): string;
  /** `metadata.mark` of an instance, by the name and the data of its znode. */
  mark(name: string, data: string): string | undefined;
}

export const interfaceLayout: Layout = {
  title: 'Dubbo by interface',
  before: () => [],
  instance: (service, { address, port, metadata }) => {
    const query = new URLSearchParams({ interface: service, ...metadata });
    return { path: urlNode('/dubbo', service, `dubbo://${address}:${port}/${service}?${query}`), data: '' };
  },
  malformed: (service) => ({ path: urlNode('/dubbo', service, `dubbo://10.1.2.99:0/${service}`), data: '' }),
  folder: (service) => `/dubbo/${service}/providers`,
  mark: (name) => new URL(decodeURIComponent(name)).searchParams.get('mark') ?? undefined,
};

/** An application of the interface's name, with its metadata in the metadata centre. */
export const applicationLayout: Layout = {
  title: 'Dubbo by application',
  before: (service, { metadata }) => {
    const name = revision(service, metadata);
    const one = { name: service, protocol: 'dubbo', path: service, params: { interface: service, ...metadata } };
    const data = JSON.stringify({ app: service, revision: name, services: { [`${service}:dubbo`]: one } });
    return [
      { path: `/dubbo/metadata/${service}/${name}`, data },
      { path: `/dubbo/mapping/${service}`, data: service },
    ];
  },
  instance: (service, instance) =>
    curator(service, instance, 'org.apache.dubbo.registry.zookeeper.ZookeeperInstance', {
      'dubbo.endpoints': JSON.stringify([{ port: instance.port, protocol: 'dubbo' }]),
      'dubbo.metadata.revision': revision(service, instance.metadata),
      'dubbo.metadata.storage-type': 'remote',
    }),
  malformed: (service) => ({ path: `/services/${service}/10.1.2.99:1`, data: '{"name":' }),
  folder: (service) => `/services/${service}`,
  mark: (_, data) => JSON.parse(data).payload.metadata.mark,
};

export const springLayout: Layout = {
  title: 'Spring Cloud',
  before: () => [],
  instance: (service, instance) =>
    curator(service, instance, 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance', {
      instance_status: 'UP',
    }),
  malformed: (service) => ({ path: `/services/${service}/bad`, data: '{"name":' }),
  folder: (service) => `/services/${service}`,
  mark: (_, data) => JSON.parse(data).payload.metadata.mark,
};

function curator(
  service: string,
  { address, port, metadata }: TestInstance,
  type: string,
  more: Record<string, string>,
): Znode {
  const id = `${address}:${port}`;
  const payload = { '@class': type, id, name: service, metadata: { ...metadata, ...more } };
  const rest = { sslPort: null, registrationTimeUTC: 1_795_387_303_019, serviceType: 'STATIC', uriSpec: null };
  const data = JSON.stringify({ name: service, id, address, port, payload, ...rest });
  return { path: `/services/${service}/${id}`, data };
}

function revision(service: string, metadata: Readonly<Record<string, string>>): string {
  return createHash('md5')
    .update(JSON.stringify([service, metadata]))
    .digest('hex');
}
