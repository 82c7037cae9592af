import { join } from 'node:path';
import zookeeper from 'node-zookeeper-client';
import { type Rejection, serviceId } from '#model/service.js';
import {
  defineTarget,
  type Placed,
  type PublishedInstance,
  type PublishedService,
  placeOf,
  type Target,
  type TargetContext,
  type Written,
} from '#publish/contract.js';
import { markKeys, markOf } from '#publish/mark.js';
import { type Held, Holdings, isCode, keep } from './holdings.js';
import { Lease } from './lease.js';
import { below } from './paths.js';
import type { ZooKeeperConfig } from './schema.js';
import { type Change, sessionOptions } from './session.js';
import { TargetDocuments } from './target-documents.js';
import {
  applicationLevel,
  interfaceLevel,
  keyOf,
  type Level,
  publishedDubbo,
  type Said,
  springLevel,
} from './target-levels.js';
import { type TargetSettings, targetFields } from './target-schema.js';

/** Somebody writes at the same time: it is looked at again as often. */
const attempts = 4;
const { Exception } = zookeeper;
const overtaken = [Exception.NO_NODE, Exception.NODE_EXISTS, Exception.BAD_VERSION];

type Service = PublishedService<TargetSettings>;

interface Standing extends Said, Held {}

/** Keeps providers and instances in ZooKeeper as ephemeral znodes of a session that outlives this process for a while. */
class ZooKeeperTarget implements Target<TargetSettings> {
  readonly #config: ZooKeeperConfig;
  readonly #context: TargetContext;
  readonly #lease: Lease;
  readonly #holdings: Holdings;
  readonly #documents: TargetDocuments;
  readonly #closing = new AbortController();
  /** The znodes of each service, by its id; and whose each is. */
  readonly #paths = new Map<string, readonly string[]>();
  readonly #owners = new Map<string, string>();

  constructor(config: ZooKeeperConfig, context: TargetContext) {
    const { directory, registry, log, owner } = context;
    const file =
      directory === undefined ? undefined : join(directory, `zookeeper-${encodeURIComponent(registry)}.json`);
    this.#config = config;
    this.#context = context;
    this.#lease = new Lease(sessionOptions(config), file, log, () => void this.#restore());
    this.#holdings = new Holdings(this.#lease);
    this.#documents = new TargetDocuments(this.#holdings, this.#metadata, owner);
  }

  async write(service: Service, before: readonly Placed[], signal: AbortSignal): Promise<Written> {
    const turn = () => this.#context.turn(signal);
    const isDubbo = service.settings.layout === 'dubbo';
    const levels = this.#levels(service);
    const isWithdrawn = service.instances.length === 0;
    if (isDubbo && !isWithdrawn && this.#hasApplication(service))
      await this.#documents.publish(publishedDubbo(service), turn);
    for (let attempt = 1; ; attempt++) {
      try {
        const written = await this.#put(service, levels, before, turn);
        if (isDubbo && isWithdrawn) await this.#withdraw(service, before, turn);
        return written;
      } catch (error) {
        signal.throwIfAborted();
        if (attempt === attempts || !isCode(error, ...overtaken)) throw error;
        for (const { folder } of levels) this.#holdings.forget(folder);
      }
    }
  }

  /** Nothing is asked: a session keeps what it keeps. What another one keeps is to be taken over soon, which writing it does. */
  async renew(service: Service): Promise<boolean> {
    const paths = this.#paths.get(serviceId(service.key));
    return paths?.every((path) => this.#holdings.held(path) !== undefined) ?? false;
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('closed'));
    await this.#lease.close();
  }

  async #put(
    service: Service,
    levels: readonly Level[],
    before: readonly Placed[],
    turn: () => Promise<void>,
  ): Promise<Written> {
    const id = serviceId(service.key);
    const places = new Set([...service.instances, ...before.map(({ instance }) => instance)].map(placeOf));
    const found = await Promise.all(
      levels.map((level) => this.#look(level, [...service.instances, ...before.map(({ instance }) => instance)])),
    );
    const taken = new Map<string, string>();
    for (const [i, level] of levels.entries())
      for (const one of found[i] ?? [])
        if (markOf(one.metadata)?.owner !== this.#context.owner) taken.set(one.place, whose(one));
        else if ((this.#owners.get(one.path) ?? id) !== id)
          taken.set(
            one.place,
            `the application has an instance there for another service of this Pontoon: ${level.folder}`,
          );
    const free = service.instances.filter((instance) => !taken.has(placeOf(instance)));
    const refused: Rejection[] = service.instances.flatMap((instance) => {
      const reason = taken.get(placeOf(instance));
      return reason === undefined ? [] : [{ record: `${instance.address}:${instance.port}`, reason }];
    });
    const placed = new Map<string, Placed>();
    const paths: string[] = [];
    for (const [i, level] of [...levels.entries()].reverse()) {
      const ours = (found[i] ?? []).filter(({ place }) => !taken.has(place) && (level.isNamed || places.has(place)));
      const { znodes, parts } = await this.#difference(level, free, ours);
      if (parts.length > 0 && free.length > 0) await this.#holdings.ensure(level.folder, turn);
      await this.#holdings.change(parts, turn);
      paths.push(...znodes.map(({ path }) => path));
      for (const [n, instance] of free.entries()) {
        const znode = znodes[n];
        if (znode !== undefined) placed.set(placeOf(instance), level.placed(znode));
      }
    }
    for (const path of this.#paths.get(id) ?? []) this.#owners.delete(path);
    if (paths.length === 0) this.#paths.delete(id);
    else this.#paths.set(id, paths);
    for (const path of paths) this.#owners.set(path, id);
    return { placed: free.flatMap((instance) => placed.get(placeOf(instance)) ?? []), refused };
  }

  /** What stands in a folder; where only the data tells, at these places. */
  async #look(level: Level, instances: readonly PublishedInstance[]): Promise<Standing[]> {
    const { folder, isNamed } = level;
    const wanted = new Set(isNamed ? [] : instances.map((instance) => level.znode(instance).path));
    const children = (await this.#holdings.children(folder)).filter(
      (name) => isNamed || wanted.has(below(folder, name)),
    );
    const all = children.map(async (name): Promise<Standing | undefined> => {
      const path = below(folder, name);
      const data = isNamed ? '' : (this.#holdings.held(path) ?? (await this.#holdings.read(path))?.data);
      if (data === undefined) return undefined;
      const said = level.read(name, data);
      if (said !== undefined) return { path, data, ...said };
      return isNamed ? undefined : { path, data, place: placeIn(name), metadata: {} };
    });
    return (await Promise.all(all)).filter((one) => one !== undefined);
  }

  /** The znodes that are to stand, and what has to change for that. */
  async #difference(level: Level, instances: readonly PublishedInstance[], ours: readonly Standing[]) {
    const parts: Change[][] = [];
    const gone = new Map(ours.map((one) => [one.path, one]));
    const byPlace = new Map<string, Standing[]>();
    for (const one of ours) byPlace.set(one.place, [...(byPlace.get(one.place) ?? []), one]);
    const put = async (instance: PublishedInstance): Promise<Held> => {
      const here = byPlace.get(placeOf(instance)) ?? [];
      const same = here.find((one) => isSame(level.znode(asMarked(instance, one)), one));
      const znode = same ?? level.znode(instance);
      const isThere = gone.delete(znode.path);
      const isHeld = isThere && (await this.#holdings.isHeld(znode.path, here[0]?.data ?? ''));
      const others = here.filter(({ path }) => path !== znode.path);
      for (const { path } of others) gone.delete(path);
      const part: Change[] = [];
      if (!isHeld) part.push(...keep(znode, isThere));
      else if (same === undefined) part.push({ what: 'write', ...znode });
      part.push(...others.map(({ path }): Change => ({ what: 'remove', path })));
      if (part.length > 0) parts.push(part);
      return znode;
    };
    const znodes = await Promise.all(instances.map(put));
    for (const path of gone.keys()) parts.push([{ what: 'remove', path }]);
    return { znodes, parts };
  }

  /** The last instance is gone: so is what says that the application provides the service. */
  async #withdraw(service: Service, before: readonly Placed[], turn: () => Promise<void>): Promise<void> {
    if (!this.#hasApplication(service)) return;
    const named = before.flatMap(({ instance }) => instance.metadata.application ?? []);
    for (const application of new Set([publishedDubbo(service).application, ...named])) {
      const folder = below(this.#services, application);
      if ((await this.#holdings.children(folder)).length === 0)
        await this.#documents.withdraw(application, service.key.name, turn);
    }
  }

  /** All that the session kept, once more. What is lost on the way, renewals notice. */
  async #restore(): Promise<void> {
    const lost = this.#holdings.take();
    const { signal } = this.#closing;
    if (lost.length === 0 || signal.aborted) return;
    this.#context.log.warn(
      { znodes: lost.length },
      'the session that keeps what is published is over: writing it again',
    );
    const again = async (znode: Held) => {
      if (await this.#holdings.isHeld(znode.path, znode.data)) return;
      await this.#holdings.change([keep(znode, false)], () => this.#context.turn(signal));
    };
    const results = await Promise.allSettled(lost.map(again));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined && !signal.aborted)
      this.#context.log.warn({ err: failed.reason }, 'some of it could not be written yet');
  }

  /** The interface level comes first: it is what a source shows. @throws Error if the registry does not read what would be written */
  #levels(service: Service): Level[] {
    const { layout, level } = service.settings;
    const root = `/${service.key.namespace}`;
    if (layout === 'springCloud') return [springLevel(root, service.key.name)];
    const published = publishedDubbo(service);
    return [
      ...(level === 'application' ? [] : [interfaceLevel(root, published)]),
      ...(this.#hasApplication(service) ? [applicationLevel(this.#services, published)] : []),
    ];
  }

  #hasApplication({ key, settings }: Service): boolean {
    if (settings.level === 'interface') return false;
    if (`/${key.namespace}` === this.#home) return true;
    throw new Error(
      `applications belong to the root ${this.#home}, and /${key.namespace} is another one: set zookeeper.level to interface`,
    );
  }

  get #services(): string {
    return this.#config.applications?.root ?? '/services';
  }

  get #metadata(): string {
    return this.#config.applications?.metadata ?? this.#roots[0] ?? '/dubbo';
  }

  /** The root that sources read applications with. */
  get #home(): string {
    const roots = this.#roots;
    return roots.includes(this.#metadata) ? this.#metadata : (roots[0] ?? '/dubbo');
  }

  get #roots(): readonly string[] {
    return this.#config.dubbo?.root ?? [];
  }
}

/** Writes into ZooKeeper: see README.md. */
export const zookeeperTarget = defineTarget({
  fields: targetFields,
  as: '{{ mesh.name }}',
  nominalWeight: 100,
  hasWeights: true,
  seenWithin: 5_000,
  renewEvery: () => 5_000,
  key: keyOf,
  target: (config, context) => new ZooKeeperTarget(config as ZooKeeperConfig, context),
});

/** As another run has marked it: nothing else may differ. */
function asMarked(instance: PublishedInstance, { metadata }: Standing): PublishedInstance {
  const run = metadata[markKeys.run];
  return run === undefined ? instance : { ...instance, metadata: { ...instance.metadata, [markKeys.run]: run } };
}

function isSame(a: Held, b: Held): boolean {
  return a.path === b.path && a.data === b.data;
}

function whose({ metadata, path }: Standing): string {
  const mark = markOf(metadata);
  const who = mark === undefined ? 'it registered itself' : `the Pontoon "${mark.owner}" wrote it`;
  return `an instance stands there already, and ${who}: ${path.slice(0, path.lastIndexOf('/'))}`;
}

/** The place of a znode that says nothing but its name. */
function placeIn(name: string): string {
  const colon = name.lastIndexOf(':');
  return `${name.slice(0, colon)} ${name.slice(colon + 1)}`;
}
