import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { IstioResource } from '#istio/resource.js';
import { istioYaml } from '#istio/yaml.js';
import { marker } from './disk.js';

/** File systems take names of at most 255 bytes, and one that is being written has a longer one. */
const longestHost = 230;

/** Where a host's file is, within the directory. Hosts and namespaces are DNS names: nothing in them leads elsewhere. */
export function pathOf(namespace: string, host: string): string {
  return join(namespace, `${host.length <= longestHost ? host : shortened(host)}.yaml`);
}

function shortened(host: string): string {
  const hash = createHash('sha256').update(host).digest('hex').slice(0, 12);
  return `${host.slice(0, longestHost - 13)}-${hash}`;
}

/** A host's file: a document for each of its resources. Without a time of creation istiod would take them for older than any user's own. */
export function fileText(resources: readonly IstioResource[]): string {
  return `# ${marker}\n${istioYaml(resources, { isDated: true })}`;
}
