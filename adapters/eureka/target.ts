import pLimit from 'p-limit';
import { short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import type { Rejection } from '#model/service.js';
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
import { markOf } from '#publish/mark.js';
import { HttpError, HttpServers } from '#sources/http.js';
import { isObject } from '#sources/json.js';
import { decodeInParts } from './decode.js';
import type { EurekaConfig } from './schema.js';
import { type EurekaTargetSettings, targetFields } from './target-schema.js';

/** Connections to one server, for all services. */
const CONNECTIONS = 8;
/** Requests of one service at a time. */
const PARALLEL = 4;
/** Weight of an instance that weighs as any other, in its metadata. */
const NOMINAL = 100;

/** How services are written into Eureka. It has no weights: one that is not as any other stands in the metadata, as `weight`. */
export const eurekaTarget = defineTarget({
  fields: targetFields,
  as: '{{ mesh.name.upperAscii() }}',
  nominalWeight: 1,
  hasWeights: true,
  // Servers answer from a cache of 30 s, and sources poll.
  seenWithin: 60_000,
  renewEvery: ({ renewInterval }) => renewInterval,
  key: (name) => {
    if (!/^[^\s/?#]+$/.test(name))
      throw new Error(`${short(name)} is no name of an application: no spaces, slashes, ? and #`);
    return { namespace: '', group: '', name: name.toUpperCase(), version: '' };
  },
  target: (config, context) => new EurekaTarget(config as EurekaConfig, context),
});

/** One instance that stands under an application. */
interface Registered {
  readonly id: string;
  readonly place: string;
  readonly owner: string | undefined;
  /** By the clock of who registered it: one that is older is not taken. */
  readonly saidAt: number;
}

/** Writes into Eureka as its clients do: https://github.com/Netflix/eureka/wiki/Eureka-REST-operations */
class EurekaTarget implements Target<EurekaTargetSettings> {
  readonly #config: EurekaConfig;
  readonly #context: TargetContext;
  #servers: HttpServers | undefined;

  constructor(config: EurekaConfig, context: TargetContext) {
    this.#config = config;
    this.#context = context;
  }

  async write(
    service: PublishedService<EurekaTargetSettings>,
    before: readonly Placed[],
    signal: AbortSignal,
  ): Promise<Written> {
    if (this.#config.lookup === 'vip')
      throw new Error(
        'this registry is read by virtual host names (lookup: vip): what is written as applications would not be seen',
      );
    const { key, instances, settings } = service;
    const limit = pLimit(PARALLEL);
    const kept = instances.map((instance) => asKept(instance, settings));
    const { set, gone, same } = difference(kept, before, { hasWeights: true });
    const there = set.length === 0 ? [] : await this.#there(key.name, signal);
    const placed: Placed[] = [...same];
    const refused: Rejection[] = [];
    const register = async (instance: PublishedInstance): Promise<void> => {
      const place = placeOf(instance);
      const known = before.find((one) => placeOf(one.instance) === place);
      const id = known?.id ?? this.#idOf(key.name, instance);
      const other = there.find((one) => (one.place === place || one.id === id) && one.owner !== this.#context.owner);
      if (other !== undefined) {
        const whose = other.owner === undefined ? 'it registered itself' : `the Pontoon "${other.owner}" wrote it`;
        refused.push({ record: place, reason: `Eureka has ${other.id} there already: ${whose}` });
        return;
      }
      const saidAt = Math.max(Date.now(), (there.find((one) => one.id === id)?.saidAt ?? 0) + 1);
      const body = JSON.stringify({ instance: lease(service, id, instance, saidAt) });
      const path = `/apps/${encodeURIComponent(key.name)}`;
      const status = await this.#tell('POST', path, signal, body);
      if (status < 300) placed.push({ id, instance });
      else {
        refused.push({ record: place, reason: `Eureka answered ${status} to its registration` });
        if (known !== undefined) placed.push(known);
      }
    };
    const withdraw = async ({ id }: Placed): Promise<void> => {
      const path = pathOf(key.name, id);
      const status = await this.#tell('DELETE', path, signal);
      if (status >= 300 && status !== 404) throw new HttpError(`DELETE ${path} answered ${status}`, status);
    };
    await Promise.all(set.map((instance) => limit(() => register(instance))));
    await Promise.all(gone.map((one) => limit(() => withdraw(one))));
    return { placed, refused };
  }

  async renew(
    { key }: PublishedService<EurekaTargetSettings>,
    placed: readonly Placed[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const limit = pLimit(PARALLEL);
    const renewed = placed.map(({ id }) =>
      limit(async () => {
        const path = pathOf(key.name, id);
        const status = await this.#ask('PUT', path, signal);
        if (status >= 300 && status !== 404) throw new HttpError(`PUT ${path} answered ${status}`, status);
        return status !== 404;
      }),
    );
    return (await Promise.all(renewed)).every(Boolean);
  }

  async close(): Promise<void> {
    await this.#servers?.close();
    this.#servers = undefined;
  }

  /** What stands under an application now. @throws HttpError if no server says it */
  async #there(name: string, signal: AbortSignal): Promise<Registered[]> {
    const path = `/apps/${encodeURIComponent(name)}`;
    const answer = await this.#http.request(path, { signal, headers: { accept: 'application/json' } });
    if (answer.status === 404) return [];
    checkAccess(path, answer.status);
    if (answer.status !== 200) throw new HttpError(`GET ${path} answered ${answer.status}`, answer.status);
    let said: unknown;
    try {
      said = JSON.parse(answer.body.toString());
    } catch (error) {
      throw new HttpError(`GET ${path} answered with ${reasonOf(error)}`, answer.status, { cause: error });
    }
    const application = isObject(said) ? said.application : undefined;
    const leases = [...decodeInParts([application], Number.POSITIVE_INFINITY)].flat().flatMap((part) => part.leases);
    return leases.map(({ id, saidAt, content }) => ({
      id,
      saidAt,
      place: typeof content === 'string' ? '' : placeOf({ ...content, port: content.ports[0]?.number ?? 0 }),
      owner: typeof content === 'string' ? undefined : markOf(content.metadata)?.owner,
    }));
  }

  /** Told from what registers itself, which is called `host:application:port` as a rule. */
  #idOf(name: string, { address, port }: PublishedInstance): string {
    return `pontoon-${this.#context.owner}:${address}:${name.toLowerCase()}:${port}`;
  }

  get #http(): HttpServers {
    const { servers, auth, tls, timeout } = this.#config;
    this.#servers ??= new HttpServers({ servers, auth, tls, timeout, connections: CONNECTIONS });
    return this.#servers;
  }

  async #tell(method: 'POST' | 'DELETE', path: string, signal: AbortSignal, body?: string): Promise<number> {
    await this.#context.turn(signal);
    return this.#ask(method, path, signal, body);
  }

  /** @returns the status @throws HttpError if no server answers, or none lets us in */
  async #ask(method: 'POST' | 'DELETE' | 'PUT', path: string, signal: AbortSignal, body?: string): Promise<number> {
    const headers = {
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const { status } = await this.#http.request(path, {
      method,
      signal,
      headers,
      ...(body === undefined ? {} : { body }),
    });
    checkAccess(path, status);
    return status;
  }
}

function checkAccess(path: string, status: number): void {
  if (status === 401 || status === 403)
    throw new HttpError(`${path} answered ${status} (check the credentials)`, status);
}

function pathOf(name: string, id: string): string {
  return `/apps/${encodeURIComponent(name)}/${encodeURIComponent(id)}`;
}

/** As Eureka keeps it, and its source reads it. */
function asKept(instance: PublishedInstance, settings: EurekaTargetSettings): PublishedInstance {
  const zone = settings.zone ?? instance.metadata.zone ?? instance.locality?.split('/')[1];
  const weight = Math.round(instance.weight * NOMINAL);
  return {
    ...instance,
    weight: 1,
    metadata: {
      ...instance.metadata,
      ...(zone === undefined ? {} : { zone }),
      ...(weight === NOMINAL ? {} : { weight: String(weight) }),
    },
  };
}

/** As the server's own Java clients send it. */
function lease(
  { key, protocol, settings }: PublishedService<EurekaTargetSettings>,
  id: string,
  { address, port, isUp, metadata }: PublishedInstance,
  saidAt: number,
): object {
  const vip = settings.vip ?? key.name.toLowerCase();
  const isSecure = protocol === 'https';
  const shown = `${isSecure ? 'https' : 'http'}://${address.includes(':') ? `[${address}]` : address}:${port}/`;
  return {
    instanceId: id,
    app: key.name,
    hostName: address,
    ipAddr: address,
    vipAddress: vip,
    secureVipAddress: vip,
    // A server keeps UP and OUT_OF_SERVICE whatever a later registration says; DOWN it takes, and UP after it.
    status: isUp ? 'UP' : 'DOWN',
    overriddenStatus: 'UNKNOWN',
    port: { $: isSecure ? 80 : port, '@enabled': String(!isSecure) },
    securePort: { $: isSecure ? port : 443, '@enabled': String(isSecure) },
    countryId: 1,
    dataCenterInfo: { '@class': 'com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo', name: 'MyOwn' },
    leaseInfo: {
      renewalIntervalInSecs: settings.renewInterval / 1_000,
      durationInSecs: settings.leaseDuration / 1_000,
    },
    metadata,
    homePageUrl: shown,
    isCoordinatingDiscoveryServer: 'false',
    lastUpdatedTimestamp: String(saidAt),
    lastDirtyTimestamp: String(saidAt),
    actionType: 'ADDED',
  };
}
