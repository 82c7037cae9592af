import type { Nacos } from '#test/servers/nacos.js';

/** An instance as Nacos lists it. */
export interface NacosEntry {
  readonly ip: string;
  readonly port: number;
  readonly weight: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Which instance, of which service. */
export interface NacosPlace {
  readonly namespace?: string;
  readonly group?: string;
  readonly name: string;
  readonly ip: string;
  readonly port: number;
}

/** The instances of a service in a Nacos 2.x. */
export async function listed(
  nacos: Nacos,
  group: string,
  name: string,
  namespace = 'public',
): Promise<readonly NacosEntry[]> {
  const query = new URLSearchParams({ serviceName: name, groupName: group, namespaceId: namespace });
  const response = await nacos.fetch(`/v1/ns/instance/list?${query}`);
  if (!response.ok) throw new Error(`Nacos answered ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { readonly hosts: readonly NacosEntry[] }).hosts;
}

/** An instance registers itself; it stays for an hour without a beat. */
export async function registerSelf(
  nacos: Nacos,
  { weight = 1, ...place }: NacosPlace & { readonly weight?: number },
): Promise<void> {
  const hour = '3600000';
  const metadata = { 'preserved.heart.beat.timeout': hour, 'preserved.ip.delete.timeout': hour };
  await ask(nacos, 'POST', place, { weight: String(weight), metadata: JSON.stringify(metadata) });
}

export async function removeSelf(nacos: Nacos, place: NacosPlace): Promise<void> {
  await ask(nacos, 'DELETE', place, {});
}

async function ask(
  nacos: Nacos,
  method: string,
  { namespace = 'public', group = 'DEFAULT_GROUP', name, ip, port }: NacosPlace,
  more: Readonly<Record<string, string>>,
): Promise<void> {
  const where = { serviceName: name, groupName: group, namespaceId: namespace, ip, port: String(port) };
  const query = new URLSearchParams({ ...where, ephemeral: 'true', ...more });
  const response = await nacos.fetch(`/v1/ns/instance?${query}`, { method });
  if (!response.ok) throw new Error(`Nacos answered ${response.status}: ${await response.text()}`);
}
