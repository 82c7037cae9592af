import type { ClientTls } from '#config/fields.js';
import type { RegistryConfig } from '#config/schema.js';
import type { Dialled } from './dial.js';

/** A registry's keys about its servers, whatever its type: URLs or host and port. Kinds without servers, such as files, have none. */
interface Servers {
  readonly servers?: readonly (string | { readonly host: string; readonly port: number })[];
  readonly tls?: ClientTls & { readonly only?: 'grpc' | 'http' };
  readonly api?: 'grpc' | 'http';
}

/** The addresses that a registry's source dials. */
export function serversOf(registry: RegistryConfig): Dialled[] {
  const { servers = [], tls, api } = registry as Servers;
  return servers.flatMap((server) => {
    if (typeof server === 'string') return ofUrl(server, tls);
    const http = { ...server, tls: tls?.only === 'grpc' ? undefined : tls };
    if (api !== 'grpc') return [http];
    // Nacos 2 and 3: gRPC beside HTTP.
    return [http, { host: server.host, port: server.port + 1_000, tls: tls?.only === 'http' ? undefined : tls }];
  });
}

/** How a registry's servers are spoken to, if it is by TLS. */
export function tlsOf(registry: RegistryConfig): ClientTls | undefined {
  return (registry as Servers).tls;
}

/** Base URLs of a registry whose servers speak HTTP. */
export function urlsOf(registry: RegistryConfig): string[] {
  const { servers = [], tls, api } = registry as Servers;
  return servers.flatMap((server) => {
    if (typeof server === 'string') {
      const { origin } = new URL(server);
      return [origin];
    }
    if (api === undefined) return [];
    const host = server.host.includes(':') ? `[${server.host}]` : server.host;
    return [`${tls === undefined || tls.only === 'grpc' ? 'http' : 'https'}://${host}:${server.port}`];
  });
}

function ofUrl(text: string, tls: ClientTls | undefined): Dialled[] {
  const { protocol, hostname, port } = new URL(text);
  const isSecure = protocol === 'https:';
  const host = hostname.replace(/^\[|\]$/g, '');
  return [{ host, port: Number(port) || (isSecure ? 443 : 80), tls: isSecure ? (tls ?? {}) : undefined }];
}
