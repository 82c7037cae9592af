import pLimit from 'p-limit';
import { reasonOf } from '#model/reason.js';
import type { Rejection } from '#model/service.js';
import { type Placed, type PublishedInstance, placeOf } from '#publish/contract.js';
import { markKeys } from '#publish/mark.js';
import { HttpError } from '#sources/http.js';
import { isObject } from '#sources/json.js';
import type { ConsulClient } from './client.js';
import { text } from './instance.js';
import type { ConsulTargetSettings } from './target-schema.js';

/** Consul takes so many operations in a transaction: those of the node, and two for each instance. */
const INSTANCES_PER_TRANSACTION = 31;
/** Requests of one service at a time. */
const PARALLEL = 4;
/** How many TTLs a critical instance stays at an agent, which takes at least a minute. */
const TTLS_UNTIL_GONE = 10;
const LEAST_UNTIL_GONE_MS = 60_000;

/** One instance to be written. */
export interface ConsulEntry {
  readonly name: string;
  /** `node/service id`. */
  readonly id: string;
  readonly instance: PublishedInstance;
}

/** What was written, and what Consul did not take. */
export interface Registered {
  readonly written: readonly ConsulEntry[];
  /** By place. */
  readonly failed: readonly Rejection[];
}

/** One of the two ways in. Everything throws HttpError when no server answers. */
export interface Writer {
  /** The id under which the source reads a service of this id back. */
  id(service: string, signal: AbortSignal): Promise<string>;
  register(entries: readonly ConsulEntry[], settings: ConsulTargetSettings, signal: AbortSignal): Promise<Registered>;
  deregister(name: string, placed: readonly Placed[], signal: AbortSignal): Promise<void>;
  /** @returns false if one is not known any more */
  renew(placed: readonly Placed[], signal: AbortSignal): Promise<boolean>;
}

type Turn = (signal: AbortSignal) => Promise<void>;

interface CatalogPlace {
  readonly owner: string;
  readonly node: string;
  readonly datacenter: string | undefined;
  readonly partition: string | undefined;
  readonly namespace: string | undefined;
  readonly turn: Turn;
}

/** Into the catalog itself, on a node that no agent runs on, by transactions. */
export class CatalogWriter implements Writer {
  readonly #client: ConsulClient;
  readonly #place: CatalogPlace;
  readonly #limit = pLimit(PARALLEL);

  constructor(client: ConsulClient, place: CatalogPlace) {
    this.#client = client;
    this.#place = place;
  }

  async id(service: string): Promise<string> {
    return `${this.#place.node}/${service}`;
  }

  async register(
    entries: readonly ConsulEntry[],
    { tags }: ConsulTargetSettings,
    signal: AbortSignal,
  ): Promise<Registered> {
    const written: ConsulEntry[] = [];
    if (entries.length === 0) return { written, failed: [] };
    const reason = await this.#whyNot(signal);
    if (reason !== undefined)
      return { written, failed: entries.map(({ instance }) => ({ record: placeOf(instance), reason })) };
    const failed: Rejection[] = [];
    const write = async (chunk: readonly ConsulEntry[]): Promise<void> => {
      try {
        await this.#transact([this.#node(), ...chunk.flatMap((entry) => this.#entry(entry, tags))], signal);
        written.push(...chunk);
      } catch (error) {
        if (!isVerdict(error)) throw error;
        // A transaction is taken as a whole: which of them is to blame, each for itself says.
        const [first] = chunk;
        if (chunk.length > 1) for (const entry of chunk) await write([entry]);
        else if (first !== undefined) failed.push({ record: placeOf(first.instance), reason: reasonOf(error) });
      }
    };
    await Promise.all(chunks(entries).map((chunk) => this.#limit(() => write(chunk))));
    return { written, failed };
  }

  /** The node stays: it cannot be removed without the risk of taking along what was written on it a moment ago. */
  async deregister(name: string, placed: readonly Placed[], signal: AbortSignal): Promise<void> {
    const removal = ({ id }: Placed) => ({
      Service: { Verb: 'delete', Node: nodeOf(id), Service: { ID: serviceOf(id), Service: name, ...this.#tenant() } },
    });
    await Promise.all(chunks(placed).map((chunk) => this.#limit(() => this.#transact(chunk.map(removal), signal))));
  }

  async renew(): Promise<boolean> {
    return true;
  }

  /** Consul's conventions for what runs where no agent is: https://developer.hashicorp.com/consul/tutorials/developer-discovery/service-registration-external-services */
  #node(): object {
    const { node, owner, partition } = this.#place;
    const Meta = { 'external-node': 'true', 'external-probe': 'false', [markKeys.owner]: owner };
    const where = partition === undefined ? {} : { Partition: partition };
    return { Node: { Verb: 'set', Node: { Node: node, Address: '127.0.0.1', Meta, ...where } } };
  }

  /** Why nothing may be written on the node: it is there, and is not ours. To write it would change its address. */
  async #whyNot(signal: AbortSignal): Promise<string | undefined> {
    const { node, owner } = this.#place;
    const { body } = await this.#client.node(node, signal);
    const found: unknown = Array.isArray(body) ? body[0] : undefined;
    if (!isObject(found) || (isObject(found.Meta) && found.Meta[markKeys.owner] === owner)) return undefined;
    return `Consul has a node ${node} that the Pontoon "${owner}" did not make; expected none of that name: set consul.node`;
  }

  #entry({ name, id, instance }: ConsulEntry, tags: readonly string[]): object[] {
    const [Node, ID] = [nodeOf(id), serviceOf(id)];
    const service = { ID, Service: name, Tags: tags, ...bodyOf(instance), ...this.#tenant() };
    const Status = instance.isUp ? 'passing' : 'critical';
    const check = { Node, CheckID: `service:${ID}`, Name: 'Published by Pontoon', ServiceID: ID, Status };
    return [
      { Service: { Verb: 'set', Node, Service: service } },
      { Check: { Verb: 'set', Check: { ...check, ...this.#tenant() } } },
    ];
  }

  #tenant(): object {
    const { partition, namespace } = this.#place;
    return {
      ...(partition === undefined ? {} : { Partition: partition }),
      ...(namespace === undefined ? {} : { Namespace: namespace }),
    };
  }

  async #transact(operations: readonly object[], signal: AbortSignal): Promise<void> {
    await this.#place.turn(signal);
    await this.#client.send('/txn', JSON.stringify(operations), signal);
  }
}

/** At one agent, with a TTL. Maintenance takes an instance out without letting it go. */
export class AgentWriter implements Writer {
  readonly #client: ConsulClient;
  readonly #turn: Turn;
  readonly #limit = pLimit(PARALLEL);
  #node: string | undefined;

  constructor(client: ConsulClient, { turn }: { readonly turn: Turn }) {
    this.#client = client;
    this.#turn = turn;
  }

  async id(service: string, signal: AbortSignal): Promise<string> {
    if (this.#node === undefined) {
      const self = await this.#client.all('agent/self', signal);
      const config = isObject(self) && isObject(self.Config) ? self.Config : {};
      const node = text(config.NodeName);
      if (node === '') throw new Error('the agent does not say the name of its node: the token needs agent:read');
      this.#node = node;
    }
    return `${this.#node}/${service}`;
  }

  async register(
    entries: readonly ConsulEntry[],
    { tags, ttl }: ConsulTargetSettings,
    signal: AbortSignal,
  ): Promise<Registered> {
    const written: ConsulEntry[] = [];
    const failed: Rejection[] = [];
    const write = async (entry: ConsulEntry): Promise<void> => {
      const { name, id, instance } = entry;
      const ID = serviceOf(id);
      const gone = Math.max(LEAST_UNTIL_GONE_MS, ttl * TTLS_UNTIL_GONE);
      const Check = {
        CheckID: checkOf(id),
        TTL: `${ttl}ms`,
        Status: 'passing',
        DeregisterCriticalServiceAfter: `${gone}ms`,
      };
      try {
        const body = { ID, Name: name, Tags: tags, ...bodyOf(instance), Check };
        await this.#tell('/agent/service/register', body, signal);
        const enable = String(!instance.isUp);
        await this.#tell(`/agent/service/maintenance/${encodeURIComponent(ID)}`, {}, signal, { enable });
        written.push(entry);
      } catch (error) {
        if (!isVerdict(error)) throw error;
        failed.push({ record: placeOf(instance), reason: reasonOf(error) });
      }
    };
    await Promise.all(entries.map((entry) => this.#limit(() => write(entry))));
    return { written, failed };
  }

  async deregister(_name: string, placed: readonly Placed[], signal: AbortSignal): Promise<void> {
    const remove = async ({ id }: Placed): Promise<void> => {
      const path = `/agent/service/deregister/${encodeURIComponent(serviceOf(id))}`;
      await this.#tell(path, {}, signal).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
      });
    };
    await Promise.all(placed.map((one) => this.#limit(() => remove(one))));
  }

  async renew(placed: readonly Placed[], signal: AbortSignal): Promise<boolean> {
    const renewed = placed.map(({ id }) =>
      this.#limit(async () => {
        try {
          const path = `/agent/check/update/${encodeURIComponent(checkOf(id))}`;
          await this.#client.send(path, JSON.stringify({ Status: 'passing' }), signal);
          return true;
        } catch (error) {
          if (isMissing(error)) return false;
          throw error;
        }
      }),
    );
    return (await Promise.all(renewed)).every(Boolean);
  }

  async #tell(path: string, body: object, signal: AbortSignal, query: Readonly<Record<string, string>> = {}) {
    await this.#turn(signal);
    await this.#client.send(path, JSON.stringify(body), signal, query);
  }
}

function bodyOf({ address, port, weight, metadata }: PublishedInstance): object {
  return { Address: address, Port: port, Meta: metadata, Weights: { Passing: weight, Warning: weight } };
}

function checkOf(id: string): string {
  return `service:${serviceOf(id)}`;
}

/** The node's name has no slash. */
function nodeOf(id: string): string {
  return id.slice(0, id.indexOf('/'));
}

function serviceOf(id: string): string {
  return id.slice(id.indexOf('/') + 1);
}

function chunks<T>(all: readonly T[]): T[][] {
  const found: T[][] = [];
  for (let start = 0; start < all.length; start += INSTANCES_PER_TRANSACTION)
    found.push(all.slice(start, start + INSTANCES_PER_TRANSACTION));
  return found;
}

/** Whether Consul has understood a request and does not take it; anything else may pass. */
function isVerdict(error: unknown): boolean {
  return error instanceof HttpError && [400, 409, 413].includes(error.status ?? 0);
}

function isMissing(error: unknown): boolean {
  return error instanceof HttpError && error.status === 404;
}
