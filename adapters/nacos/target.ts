import pLimit from 'p-limit';
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
import { markKeys } from '#publish/mark.js';
import { idOf } from './api.js';
import type { NacosConfig } from './schema.js';
import { asNaming, placedAsDubbo, placedAsNaming } from './target-dubbo.js';
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

type Service = PublishedService<TargetSettings>;
type Ours = ReadonlyMap<string, Placed>;

/** Registers instances in Nacos, and renews them. */
class NacosTarget implements Target<TargetSettings> {
  readonly #context: TargetContext;
  readonly #api: InstanceApi;
  readonly #batches: Batches;
  readonly #limit = pLimit(concurrency);
  /** What the services hold, as far as it is known, by their ids. */
  readonly #kinds = new Map<string, InstanceKind>();

  constructor(config: NacosConfig, context: TargetContext) {
    this.#context = context;
    this.#api = new InstanceApi(config);
    this.#batches = new Batches(config, this.#api.credentials, context.log);
  }

  async write(service: Service, before: readonly Placed[], signal: AbortSignal): Promise<Written> {
    const written = await this.#write(asNaming(service), placedAsNaming(service, before), signal);
    return { ...written, placed: placedAsDubbo(service, written.placed) };
  }

  async #write(service: Service, before: readonly Placed[], signal: AbortSignal): Promise<Written> {
    let ours: Ours = new Map(before.map((placed) => [placeOf(placed.instance), placed]));
    let others: Look['others'] = new Map();
    // Before anything is written where nothing of ours is known to stand.
    if (this.#kindOf(service) === undefined || service.instances.some((instance) => !ours.has(placeOf(instance))))
      ({ ours, others } = await this.#look(service, signal));
    const [free, taken] = split(service.instances, (instance) => !others.has(placeOf(instance)));
    const refused = taken.map((instance) => refusal(instance, others.get(placeOf(instance)) ?? ''));
    const mine = unique([...before, ...ours.values()]).filter(({ instance }) => !others.has(placeOf(instance)));
    const written = await this.#put({ ...service, instances: free }, ours, mine, signal);
    if (service.instances.length === 0) this.#kinds.delete(idOf(nameOf(service)));
    return { placed: written.placed, refused: [...refused, ...written.refused] };
  }

  renew(service: Service, placed: readonly Placed[], signal: AbortSignal): Promise<boolean> {
    return this.#renew(asNaming(service), placed, signal);
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
