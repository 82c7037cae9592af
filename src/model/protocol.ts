/**
 * Application protocols: Istio's own names, and the two of Dubbo.
 * See https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
 */
export const protocols = {
  http: { istio: 'HTTP', prefix: 'http', port: 80 },
  http2: { istio: 'HTTP2', prefix: 'http2', port: 80 },
  grpc: { istio: 'GRPC', prefix: 'grpc', port: 80 },
  'grpc-web': { istio: 'GRPC-WEB', prefix: 'grpc-web', port: 80 },
  https: { istio: 'HTTPS', prefix: 'https', port: 443 },
  tls: { istio: 'TLS', prefix: 'tls', port: 443 },
  dubbo: { istio: 'TCP', prefix: 'tcp-dubbo', port: 20880 },
  tri: { istio: 'GRPC', prefix: 'grpc-tri', port: 20880 },
  tcp: { istio: 'TCP', prefix: 'tcp', port: 80 },
  mongo: { istio: 'MONGO', prefix: 'mongo', port: 80 },
  mysql: { istio: 'MYSQL', prefix: 'mysql', port: 80 },
  redis: { istio: 'REDIS', prefix: 'redis', port: 80 },
} as const satisfies Record<string, { istio: string; prefix: string; port: number }>;

export type Protocol = keyof typeof protocols;

const overHttp: ReadonlySet<Protocol> = new Set(['http', 'http2', 'grpc', 'grpc-web', 'tri']);

/** Whether it is HTTP of any version, not encrypted: then proxies see requests, with the host that each is for. */
export function isHttp(protocol: Protocol): boolean {
  return overHttp.has(protocol);
}

/** The protocol that a registry's or an application's word means, in any case; undefined if it is none we know. */
export function parseProtocol(word: string): Protocol | undefined {
  const name = word.toLowerCase();
  return Object.hasOwn(protocols, name) ? (name as Protocol) : undefined;
}

/**
 * The name of a service port, Istio style: it begins with the protocol. `admin` speaking HTTP becomes `http-admin`.
 * The result is a DNS label if `name` is one.
 */
export function portName(name: string, protocol: Protocol): string {
  const { prefix } = protocols[protocol];
  if (name === '' || name === protocol || name === prefix) return prefix;
  return name.startsWith(`${prefix}-`) ? name : `${prefix}-${name}`;
}

/** The protocol that a port's name says, Istio style: `grpc-admin` is grpc; tcp where it says none. */
export function protocolOfName(name: string): Protocol {
  const names = (Object.keys(protocols) as Protocol[]).filter((protocol) => {
    const { prefix } = protocols[protocol];
    return name === prefix || name.startsWith(`${prefix}-`);
  });
  return names.sort((a, b) => protocols[b].prefix.length - protocols[a].prefix.length)[0] ?? 'tcp';
}
