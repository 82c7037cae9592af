import type { Config } from '#config/schema.js';
import { authorityOf } from '#doctor/certificate.js';
import { meshConfigFragment } from '#istio/meshconfig.js';
import { read } from './api.js';

/** `pontoon meshconfig`: the part of istiod's meshConfig that makes it read this Pontoon. */
export async function meshconfig({ config }: { readonly config: string }): Promise<void> {
  process.stdout.write(fragmentOf(read(config)));
}

/** The fragment of a configuration, with the authorities that its certificate files name. @param ports that were bound, by listener */
export function fragmentOf({ istio }: Pick<Config, 'istio'>, ports: readonly (readonly number[])[] = []): string {
  const authority = ({ tls }: Config['istio']['xds'][number]) =>
    tls === undefined ? undefined : authorityOf(tls.cert, tls.clientCa === undefined ? [] : [tls.clientCa]);
  return meshConfigFragment(istio, { ports, authority });
}
