import { short } from '#model/address.js';
import type { Note, Rejection } from '#model/service.js';
import {
  defineTarget,
  difference,
  type Placed,
  type PublishedInstance,
  type PublishedService,
  placeOf,
  type Target,
  type TargetContext,
  type Written,
} from '#publish/contract.js';
import { isMarkKey, markOf } from '#publish/mark.js';
import { ConsulClient, Servers } from './client.js';
import { decodeService } from './decode.js';
import { readingOf } from './instance.js';
import type { ConsulConfig } from './schema.js';
import { serviceKey } from './scope.js';
import { type ConsulTargetSettings, targetFields } from './target-schema.js';
import { AgentWriter, CatalogWriter, type ConsulEntry, type Writer } from './target-writers.js';

/** Renewals within the time that a TTL lasts. */
const RENEWALS = 3;

/** Consul's own limits: pairs, and characters of a key and of a value. */
const MOST_PAIRS = 64;
const LONGEST_KEY = 128;
const LONGEST_VALUE = 512;

/** How services are written into Consul. */
export const consulTarget = defineTarget({
  fields: targetFields,
  as: '{{ mesh.name }}',
  nominalWeight: 1,
  hasWeights: true,
  seenWithin: 20_000,
  renewEvery: ({ via, ttl }) => (via === 'agent' ? Math.floor(ttl / RENEWALS) : undefined),
  key: (name, { datacenter, partition, namespace }) => {
    if (!/^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?$/.test(name))
      throw new Error(`${short(name)} is no name for Consul's DNS: expected letters, digits and dashes, at most 63`);
    const { registry, ...key } = serviceKey(
      '',
      { own: datacenter === undefined, datacenter, partition, namespace },
      name,
    );
    return key;
  },
  target: (config, context) => new ConsulTarget(config as ConsulConfig, context),
});

/**
 * Writes into Consul: https://developer.hashicorp.com/consul/api-docs/txn, /catalog and /agent/service. What is ours is told by the mark in the service's
 * metadata.
 */
class ConsulTarget implements Target<ConsulTargetSettings> {
  readonly #config: ConsulConfig;
  readonly #context: TargetContext;
  #servers: Servers | undefined;
  #agents: Servers | undefined;
  readonly #writers = new Map<string, Writer>();
  readonly #clients = new Map<string, ConsulClient>();

  constructor(config: ConsulConfig, context: TargetContext) {
    this.#config = config;
    this.#context = context;
  }

  async write(
    service: PublishedService<ConsulTargetSettings>,
    before: readonly Placed[],
    signal: AbortSignal,
  ): Promise<Written> {
    const { key, instances, settings } = service;
    const refused: Rejection[] = [];
    const notes: Note[] = [];
    const kept = instances.map((instance) => asKept(instance, settings, notes));
    const { set, gone, same } = difference(kept, before, { hasWeights: true });
    const writer = this.#writer(settings);
    const there = set.length === 0 ? [] : await this.#there(service, signal);
    const mine = new Map(before.map((placed) => [placeOf(placed.instance), placed]));
    const entries: ConsulEntry[] = [];
    const moved: Placed[] = [];
    for (const instance of set) {
      const place = placeOf(instance);
      const other = there.find((one) => one.place === place && one.owner !== this.#context.owner);
      const whose = other?.owner === undefined ? 'it registered itself' : `the Pontoon "${other.owner}" wrote it`;
      if (other !== undefined)
        refused.push({ record: place, reason: `Consul has ${other.id} there already: ${whose}` });
      else {
        const id = await writer.id(this.#idOf(key.name, instance), signal);
        entries.push({ name: key.name, id, instance });
        const known = mine.get(place);
        // It stood on another node, as before a change of `via` or `node`.
        if (known !== undefined && known.id !== id) moved.push(known);
      }
    }
    const { written, failed } = await writer.register(entries, settings, signal);
    refused.push(...failed);
    // One that another entry of ours has replaced at its place is no longer needed; one that could not be changed stays as it was.
    const stays = before.filter(({ instance }) => failed.some(({ record }) => record === placeOf(instance)));
    const leaving = [...gone, ...moved].filter((placed) => !stays.includes(placed));
    await writer.deregister(key.name, leaving, signal);
    return { placed: [...same, ...written.map(({ id, instance }) => ({ id, instance })), ...stays], refused, notes };
  }

  renew(
    { settings }: PublishedService<ConsulTargetSettings>,
    placed: readonly Placed[],
    signal: AbortSignal,
  ): Promise<boolean> {
    return this.#writer(settings).renew(placed, signal);
  }

  async close(): Promise<void> {
    this.#servers?.close();
    this.#agents?.close();
    this.#writers.clear();
    this.#clients.clear();
  }

  /** Where instances of a service stand now, and whose they are. */
  async #there({ key, settings }: PublishedService<ConsulTargetSettings>, signal: AbortSignal) {
    const { body } = await this.#client(settings).wholeService(key.name, signal);
    const reading = { ...readingOf(this.#config), addresses: ['service', 'node'] };
    const { instances = [] } = decodeService(key, {}, body, reading) ?? {};
    return instances.map(({ id, address, ports, metadata }) => ({
      id,
      place: placeOf({ address, port: ports[0]?.number ?? 0 }),
      owner: markOf(metadata)?.owner,
    }));
  }

  #idOf(name: string, { address, port }: PublishedInstance): string {
    return `pontoon-${this.#context.owner}-${name}-${address}-${port}`;
  }

  #writer(settings: ConsulTargetSettings): Writer {
    const { via, node = `pontoon-${this.#context.owner}`, datacenter, partition, namespace } = settings;
    const key = JSON.stringify([via, node, datacenter, partition, namespace]);
    const known = this.#writers.get(key);
    if (known !== undefined) return known;
    const turn = this.#context.turn;
    const writer =
      via === 'agent'
        ? new AgentWriter(this.#agentClient(), { turn })
        : new CatalogWriter(this.#client(settings), {
            owner: this.#context.owner,
            node,
            datacenter,
            partition,
            namespace,
            turn,
          });
    this.#writers.set(key, writer);
    return writer;
  }

  #client({ datacenter, partition, namespace }: ConsulTargetSettings): ConsulClient {
    const key = JSON.stringify([datacenter, partition, namespace]);
    const known = this.#clients.get(key);
    if (known !== undefined) return known;
    this.#servers ??= new Servers(this.#config);
    const client = new ConsulClient(this.#servers, { datacenter, partition, namespace });
    this.#clients.set(key, client);
    return client;
  }

  /** A TTL is one agent's to watch: always the first one's. */
  #agentClient(): ConsulClient {
    this.#agents ??= new Servers({ ...this.#config, servers: this.#config.servers.slice(0, 1) });
    return new ConsulClient(this.#agents, {});
  }
}

/** As Consul can keep it. @param notes takes up what is left out */
function asKept(instance: PublishedInstance, { weight }: ConsulTargetSettings, notes: Note[]): PublishedInstance {
  const metadata: Record<string, string> = {};
  const left: string[] = [];
  // The mark first: it has to be among those that are kept.
  const pairs = Object.entries(instance.metadata).sort(([a], [b]) => Number(isMarkKey(b)) - Number(isMarkKey(a)));
  for (const [key, value] of pairs)
    if (!/^[A-Za-z0-9_-]+$/.test(key) || key.length > LONGEST_KEY) left.push(`${short(key)} (no key for Consul)`);
    else if (value.length > LONGEST_VALUE) left.push(`${key} (longer than ${LONGEST_VALUE} characters)`);
    else if (Object.keys(metadata).length >= MOST_PAIRS) left.push(`${key} (more than ${MOST_PAIRS} pairs)`);
    else metadata[key] = value;
  if (left.length > 0)
    notes.push({ record: `${instance.address}:${instance.port}`, text: `metadata left out: ${left.join(', ')}` });
  return { ...instance, weight: Math.max(1, Math.round(instance.weight * weight)), metadata };
}
