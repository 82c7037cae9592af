import pLimit from 'p-limit';
import { type PublishedDubbo, revisionOf } from '#adapters/dubbo/index.js';
import type { Rejection, ServiceKey } from '#model/service.js';
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
import { markKeys, markOf } from '#publish/mark.js';
import { idOf } from './api.js';
import type { NacosConfig } from './schema.js';
import { TargetDocuments } from './target-documents.js';
import { type Level, levelsOf, publishedDubbo } from './target-dubbo.js';
import { Batches } from './target-grpc.js';
import { InstanceApi, OtherKind, Refused, type WrittenInstance } from './target-http.js';
import {
  asRead,
  asWritten,
  faultOf,
  instanceId,
  type Look,
  lookAt,
  nameOf,
  nameOfInstance,
} from './target-instance.js';
import { type InstanceKind, type TargetSettings, targetFields } from './target-schema.js';

/** Instances that are written at a time, and beats. */
const concurrency = 8;
/** Where an application's instance names the revision of its metadata. */
const revisionKey = 'dubbo.metadata.revision';

type Service = PublishedService<TargetSettings>;
type Ours = ReadonlyMap<string, Placed>;

/** Registers instances in Nacos, and renews them. */
class NacosTarget implements Target<TargetSettings> {
  readonly #context: TargetContext;
  readonly #api: InstanceApi;
  readonly #batches: Batches;
  readonly #config: NacosConfig;
  readonly #documents: TargetDocuments;
  readonly #limit = pLimit(concurrency);
  /** What the services hold, as far as it is known, by their ids. */
  readonly #kinds = new Map<string, InstanceKind>();

  constructor(config: NacosConfig, context: TargetContext) {
    this.#context = context;
    this.#config = config;
    this.#api = new InstanceApi(config);
    this.#batches = new Batches(config, this.#api.credentials, context.log);
    this.#documents = new TargetDocuments(this.#batches.configs, context.owner);
  }

  async write(service: Service, before: readonly Placed[], signal: AbortSignal): Promise<Written> {
    const levels = levelsOf(service);
    const looks = await Promise.all(levels.map((level) => this.#lookFor(level, service, before, signal)));
    const taken = new Map(looks.flatMap(({ others }) => [...others]));
    const isFree = (instance: PublishedInstance): boolean => !taken.has(placeOf(instance));
    const refused = service.instances.flatMap((one) =>
      isFree(one) ? [] : [refusal(one, taken.get(placeOf(one)) ?? '')],
    );
    if (service.instances.some(isFree)) await this.#publishDocuments(service, signal);
    const placed = new Map<string, Placed>();
    for (const [i, { service: naming, placed: read }] of levels.entries()) {
      const { ours = new Map(), mine = [] } = looks[i] ?? {};
      const free = { ...naming, instances: naming.instances.filter(isFree) };
      const theirs = mine.filter(({ instance }) => isFree(instance));
      const written = await this.#put(free, ours, theirs, signal);
      for (const one of written.placed) placed.set(placeOf(one.instance), read(one));
      refused.push(...written.refused);
      if (naming.instances.length === 0) this.#kinds.delete(idOf(nameOf(naming)));
    }
    if (refused.length === 0) await this.#forgetDocuments(service, looks[0]?.mine ?? [], signal);
    return { placed: [...placed.values()], refused: [...new Map(refused.map((one) => [one.record, one])).values()] };
  }

  async renew(service: Service, placed: readonly Placed[], signal: AbortSignal): Promise<boolean> {
    const known = await Promise.all(levelsOf(service).map((level) => this.#renew(level.service, placed, signal)));
    return known.every((isKnown) => isKnown);
  }

  async #renew(service: Service, placed: readonly Placed[], signal: AbortSignal): Promise<boolean> {
    if (this.#batches.held(nameOf(service)).length > 0) return true;
    if (this.#kindOf(service) === undefined) await this.#look(service, signal);
    const kind = this.#kindOf(service);
    if (kind === 'persistent') return true;
    // Of what another connection kept nothing is left; and what nobody sees needs no beat.
    if (kind === undefined || service.settings.api === 'grpc') return false;
    const beats = placed.map(({ instance }) =>
      this.#limit(() => this.#api.beat(nameOfInstance(instance, service, kind), signal)),
    );
    return (await settled(beats)).every((isKnown) => isKnown);
  }

  async close(): Promise<void> {
    this.#batches.close();
    await this.#api.close();
  }

  #kindOf(service: Service): InstanceKind | undefined {
    return this.#kinds.get(idOf(nameOf(service)));
  }

  /** A service's instances are all of one kind, whatever the publication wants. */
  #follow(service: Service, kind: InstanceKind): void {
    if (this.#kindOf(service) !== kind && kind !== service.settings.kind)
      this.#context.log.warn(
        { service: service.key, wanted: service.settings.kind, found: kind },
        `its instances are ${kind} ones: those that are published there are, too`,
      );
    this.#kinds.set(idOf(nameOf(service)), kind);
  }

  /** What stands where a service is to stand. `mine`: what of it is this service's. */
  async #lookFor(
    { service: naming, isShared }: Level,
    service: Service,
    before: readonly Placed[],
    signal: AbortSignal,
  ): Promise<{ ours: Ours; mine: readonly Placed[]; others: Look['others'] }> {
    if (naming === service) {
      const ours: Ours = new Map(before.map((placed) => [placeOf(placed.instance), placed]));
      const isKnown = service.instances.every((instance) => ours.has(placeOf(instance)));
      if (isKnown && this.#kindOf(service) !== undefined) return { ours, mine: before, others: new Map() };
      const look = await this.#look(service, signal);
      return { ...look, mine: unique([...before, ...look.ours.values()]) };
    }
    // What stands there says more than is known of it.
    const { ours, others } = await this.#look(naming, signal);
    if (!isShared) return { ours, mine: [...ours.values()], others };
    const all = [...service.instances, ...before.map(({ instance }) => instance)];
    const places = new Set(all.map(placeOf));
    const hosts = new Set(all.map(({ metadata }) => markOf(metadata)?.host));
    const [mine, rest] = split([...ours.values()], ({ instance }) => hosts.has(markOf(instance.metadata)?.host));
    const reason = `the application ${naming.key.name} has an instance there for another service of this Pontoon`;
    const taken = rest.map(({ instance }) => [placeOf(instance), reason] as const);
    return {
      ours: new Map(mine.map((one) => [placeOf(one.instance), one])),
      mine: mine.filter(({ instance }) => places.has(placeOf(instance))),
      others: new Map([...others, ...taken]),
    };
  }

  /** Before an application has its first instance. */
  async #publishDocuments(service: Service, signal: AbortSignal): Promise<void> {
    const published = this.#application(service);
    if (published === undefined) return;
    await this.#documents.publish(service.key.namespace, published, () => this.#context.turn(signal));
  }

  /** Those of the revisions that no instance of the service has any more. An application that a person has named stays mapped: others may be of it. */
  async #forgetDocuments(service: Service, before: readonly Placed[], signal: AbortSignal): Promise<void> {
    const published = this.#application(service);
    if (published === undefined) return;
    const { namespace } = service.key;
    const turn = () => this.#context.turn(signal);
    const isWithdrawn = service.instances.length === 0;
    const revisions = new Set(before.flatMap(({ instance }) => instance.metadata[revisionKey] ?? []));
    if (!isWithdrawn) revisions.delete(revisionOf(published));
    await this.#documents.forget(namespace, published.application, revisions, turn);
    if (isWithdrawn && service.settings.dubbo?.application === undefined)
      await this.#documents.unmap(namespace, published, turn);
  }

  /** @throws Error if the config centre, which consumers read, cannot be written */
  #application(service: Service): PublishedDubbo | undefined {
    const { dubbo } = service.settings;
    if (dubbo === undefined || dubbo.level === 'interface') return undefined;
    if (this.#config.api === 'http')
      throw new Error(
        'applications need the config centre, which is written over gRPC, and the registry has api: http: set nacos.dubbo.level to interface',
      );
    return publishedDubbo(service);
  }

  async #look(service: Service, signal: AbortSignal): Promise<Look> {
    const { cluster } = service.settings;
    const standing = await this.#limit(() => this.#api.list(nameOf(service), cluster, signal));
    const hasIds = await this.#api.hasIds(nameOf(service), signal);
    const look = lookAt(standing, cluster, this.#context.owner, (instance) => instanceId(instance, service, hasIds));
    if (look.kind !== undefined) this.#follow(service, look.kind);
    return look;
  }

  /** Writes what is to stand, and withdraws the rest of `mine`; once more if the service turns out to be of the other kind. */
  async #put(service: Service, ours: Ours, mine: readonly Placed[], signal: AbortSignal): Promise<Written> {
    try {
      return await this.#putAs(this.#kindOf(service) ?? service.settings.kind, service, ours, mine, signal);
    } catch (error) {
      if (!(error instanceof OtherKind)) throw error;
      this.#follow(service, error.kind);
      return await this.#putAs(error.kind, service, ours, mine, signal);
    }
  }

  async #putAs(
    kind: InstanceKind,
    service: Service,
    ours: Ours,
    mine: readonly Placed[],
    signal: AbortSignal,
  ): Promise<Written> {
    const isBatch = kind === 'ephemeral' && service.settings.api === 'grpc';
    const held = new Set(this.#batches.held(nameOf(service)).map(placeOfWritten));
    const written = isBatch
      ? await this.#batch(service, mine, signal)
      : await this.#register(service, kind, ours, signal);
    if (written.placed.length > 0) this.#follow(service, kind);
    // Those that the connection does not keep stand by themselves, be it at the same place.
    const places = new Set(isBatch ? held : service.instances.map(placeOf));
    const gone = mine.filter(({ instance }) => !places.has(placeOf(instance)));
    await this.#withdraw(service, gone, signal);
    if (!isBatch && held.size > 0) await this.#batches.put(nameOf(service), [], () => this.#context.turn(signal));
    return written;
  }

  /** One by one, and what differs only. */
  async #register(service: Service, kind: InstanceKind, ours: Ours, signal: AbortSignal): Promise<Written> {
    const wanted = service.instances.map((instance) => asRead(instance, service, kind));
    const { set } = difference(wanted, [...ours.values()], { hasWeights: true, ignores: [markKeys.run] });
    const changed = new Set(set.map(placeOf));
    const refused: Rejection[] = [];
    const register = async (one: PublishedInstance): Promise<Placed | undefined> => {
      const known = ours.get(placeOf(one));
      if (!changed.has(placeOf(one))) return known;
      try {
        await this.#context.turn(signal);
        await this.#api.register(asWritten(one, service, kind), signal);
        const hasIds = await this.#api.hasIds(nameOf(service), signal);
        return { id: instanceId(one, service, hasIds), instance: asRead(one, service, kind) };
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        refused.push(refusal(one, error.message));
        return known;
      }
    };
    const placed = await settled(service.instances.map((one) => this.#limit(() => register(one))));
    return { placed: placed.filter((one) => one !== undefined), refused };
  }

  /** All in one request. */
  async #batch(service: Service, mine: readonly Placed[], signal: AbortSignal): Promise<Written> {
    const name = nameOf(service);
    const kept = new Set(this.#batches.held(name).map(placeOfWritten));
    const all = service.instances.map((one) => ({ one, written: asWritten(one, service, 'ephemeral') }));
    const refused = all.flatMap(({ one, written }) => {
      const fault = faultOf(written);
      return fault === undefined ? [] : [refusal(one, fault)];
    });
    const batch = all.filter(({ written }) => faultOf(written) === undefined);
    try {
      const instances = batch.map(({ written }) => written);
      await this.#batches.put(name, instances, () => this.#context.turn(signal));
      const placed = batch.map(({ one }) => ({
        id: instanceId(one, service, true),
        instance: asRead(one, service, 'ephemeral'),
      }));
      return { placed, refused };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const { message } = error;
      return {
        placed: mine.filter(({ instance }) => kept.has(placeOf(instance))),
        refused: [...refused, ...batch.map(({ one }) => refusal(one, message))],
      };
    }
  }

  async #withdraw(service: Service, gone: readonly Placed[], signal: AbortSignal): Promise<void> {
    const known = this.#kindOf(service);
    const kinds: readonly InstanceKind[] = known === undefined ? ['ephemeral', 'persistent'] : [known];
    const requests = gone.flatMap(({ instance }) => kinds.map((kind) => nameOfInstance(instance, service, kind)));
    await settled(
      requests.map((request) =>
        this.#limit(async () => {
          await this.#context.turn(signal);
          await this.#api.deregister(request, signal);
        }),
      ),
    );
  }
}

/** Writes into Nacos: see README.md. */
export const nacosTarget = defineTarget({
  fields: targetFields,
  as: '{{ mesh.name }}',
  nominalWeight: 1,
  hasWeights: true,
  // The list of services is looked at each five seconds; a change within a service is pushed.
  seenWithin: 15_000,
  renewEvery: ({ beatInterval }) => beatInterval,
  key,
  target: (config, context) => new NacosTarget(config as NacosConfig, context),
});

/** @throws Error if Nacos takes no such name */
function key(name: string, { namespace, group, cluster, dubbo }: TargetSettings): Omit<ServiceKey, 'registry'> {
  check(
    'name of a service',
    name,
    /^(?!@)(?!.*@@)[!-~]{1,512}$/,
    'up to 512 printable characters of ASCII, without @@',
  );
  check('group', group, /^[\w:.-]{1,128}$/, 'letters, digits, _ : . and -');
  check('cluster', cluster, /^[0-9A-Za-z-]{1,64}$/, 'letters, digits and -');
  check('id of a namespace', namespace, /^[\w-]{1,64}$/, 'letters, digits, _ and -');
  if (dubbo === undefined) return { namespace, group, name, version: '' };
  check('name of an interface', name, /^[\w$.-]{1,253}$/, 'that of a Java interface');
  return { namespace, group: dubbo.group, name, version: dubbo.version };
}

function check(what: string, found: string, pattern: RegExp, expected: string): void {
  if (!pattern.test(found)) throw new Error(`"${found}" is no ${what} in Nacos: expected ${expected}`);
}

function placeOfWritten({ ip, port }: WrittenInstance): string {
  return placeOf({ address: ip, port });
}

function refusal({ address, port }: PublishedInstance, reason: string): Rejection {
  return { record: `${address}:${port}`, reason };
}

/** Waits for all, so that none is under way any more, and then fails as the first one that did. */
async function settled<Result>(all: readonly Promise<Result>[]): Promise<Result[]> {
  await Promise.allSettled(all);
  return await Promise.all(all);
}

function unique(placed: readonly Placed[]): Placed[] {
  return [...new Map(placed.map((one) => [placeOf(one.instance), one])).values()];
}

function split<Item>(items: readonly Item[], isFirst: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}
