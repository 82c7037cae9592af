import {
  type ApplicationInstance,
  type ApplicationMetadata,
  parseApplicationMetadata,
  parseMapping,
} from '#adapters/dubbo/index.js';
import { reasonOf } from '#model/reason.js';
import type { Rejection } from '#model/service.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
import type { Entry, Instances } from './instances.js';
import { type LevelListener, type Said, said } from './level.js';
import { below, nameOf, reconcile } from './paths.js';
import { Relation } from './relation.js';

export interface ApplicationContent {
  /** Instances of the applications that provide an interface, each with its metadata where the metadata centre has it. */
  readonly instances: readonly {
    readonly instance: ApplicationInstance;
    readonly metadata: ApplicationMetadata | undefined;
  }[];
  readonly rejected: readonly Rejection[];
}

/** A document, or why it is none. */
type Parsed<T> = { readonly value: T } | { readonly reason: string };

type Revisions = Map<string, Followed<Parsed<ApplicationMetadata>>>;

/**
 * The application level: Dubbo's instances, and what each application provides: by its metadata, `<metadata>/metadata/<application>/<revision>`,
 * and by the mapping, `<metadata>/mapping/<interface>`.
 */
export class ApplicationLevel {
  readonly #following: Following;
  readonly #instances: Instances;
  readonly #metadata: string;
  readonly #includes: (name: string) => boolean;
  readonly #listener: LevelListener;
  /** By application. */
  readonly #revisions = new Map<string, Revisions>();
  readonly #mappings = new Map<string, Followed<readonly string[]>>();
  /** Which interfaces an application is known to provide: by the mapping, and by its metadata. */
  readonly #mapped = new Relation();
  readonly #provided = new Relation();
  readonly #mappingList: Followed<readonly string[]>;

  /** @param metadata znode that holds `metadata` and `mapping` */
  constructor(
    following: Following,
    instances: Instances,
    metadata: string,
    includes: (name: string) => boolean,
    why: Cause,
    listener: LevelListener,
  ) {
    this.#following = following;
    this.#instances = instances;
    this.#metadata = metadata;
    this.#includes = includes;
    this.#listener = listener;
    instances.listen({
      changed: (application, cause) => this.#applicationChanged(application, cause),
      failed: listener.failed,
    });
    const mapping = below(metadata, 'mapping');
    this.#mappingList = following.children(mapping, 'everything', why, (cause) => this.#mappingsChanged(cause));
  }

  names(): Iterable<string> {
    return new Set([...this.#mappings.keys(), ...this.#provided.values()]);
  }

  /** What applications give to an interface, if the mapping or the metadata of one names it. */
  read(name: string): Said<ApplicationContent> {
    if (this.#mappingList.content === undefined) return { kind: 'unknown' };
    const mapping = this.#mappings.get(name);
    const mapped = mapping === undefined ? ({ kind: 'nothing' } as const) : said(mapping.content);
    if (mapped.kind === 'unknown' || mapped.kind === 'unreadable') return mapped;
    const applications = new Set(mapped.kind === 'something' ? mapped.value : []);
    for (const application of this.#provided.keysOf(name)) applications.add(application);
    if (mapped.kind === 'nothing' && applications.size === 0) return mapped;
    const instances: ApplicationContent['instances'][number][] = [];
    const rejected: Rejection[] = [];
    for (const application of [...applications].sort()) {
      const entries = this.#instances.read(application);
      if (entries.kind === 'nothing') continue;
      if (entries.kind !== 'something') return entries;
      const found = readApplication(application, entries.value, this.#revisions.get(application));
      if (found.kind !== 'something') return found;
      instances.push(...found.value.instances);
      rejected.push(...found.value.rejected);
    }
    return { kind: 'something', value: { instances, rejected } };
  }

  stop(): void {
    this.#instances.stop();
    this.#mappingList.stop();
    for (const mapping of this.#mappings.values()) mapping.stop();
    for (const revisions of this.#revisions.values()) for (const revision of revisions.values()) revision.stop();
  }

  #mappingsChanged(cause: Cause): void {
    const { content } = this.#mappingList;
    if (content?.kind === 'unreadable') {
      this.#listener.failed(content.error);
      return;
    }
    const children = new Map((this.#mappingList.last ?? []).map((child) => [nameOf(child), child]));
    reconcile(
      this.#mappings,
      [...children.keys()].filter(this.#includes),
      (name) => this.#followMapping(name, children.get(name) ?? name, cause),
      (name, mapping) => {
        mapping.stop();
        this.#mapped.drop(name);
        this.#listener.changed(name, cause);
      },
    );
  }

  #followMapping(name: string, child: string, why: Cause): Followed<readonly string[]> {
    const path = below(this.#metadata, 'mapping', child);
    const mapping = this.#following.data(path, parseMapping, why, (cause) => {
      this.#mapped.drop(name);
      for (const application of mapping.last ?? []) this.#mapped.add(application, name);
      this.#listener.changed(name, cause);
    });
    return mapping;
  }

  /** Follows the metadata that the instances name now, and tells the interfaces that the application had or has. */
  #applicationChanged(application: string, cause: Cause): void {
    const before = this.#interfacesOf(application);
    const wanted = new Set<string>();
    for (const entry of this.#instances.last(application))
      if (entry.kind === 'dubbo' && entry.instance.remoteMetadata && entry.instance.revision !== '')
        wanted.add(entry.instance.revision);
    const revisions: Revisions = this.#revisions.get(application) ?? new Map();
    reconcile(
      revisions,
      wanted,
      (revision) =>
        this.#following.data(
          below(this.#metadata, 'metadata', application, revision),
          parsed(parseApplicationMetadata),
          cause,
          (cause) => this.#applicationChanged(application, cause),
        ),
      (_, revision) => revision.stop(),
    );
    if (revisions.size > 0) this.#revisions.set(application, revisions);
    else this.#revisions.delete(application);
    this.#provided.set(application, providedBy(revisions).filter(this.#includes));
    for (const name of new Set([...before, ...this.#interfacesOf(application)])) this.#listener.changed(name, cause);
  }

  #interfacesOf(application: string): Set<string> {
    return new Set([...this.#mapped.valuesOf(application), ...this.#provided.valuesOf(application)]);
  }
}

function readApplication(
  application: string,
  entries: ReadonlyMap<string, Entry>,
  revisions: Revisions | undefined,
): Said<ApplicationContent> {
  const instances: ApplicationContent['instances'][number][] = [];
  const rejected: Rejection[] = [];
  for (const [child, entry] of entries) {
    if (entry.kind === 'malformed') rejected.push({ record: `${application}/${child}`, reason: entry.reason });
    if (entry.kind !== 'dubbo') continue;
    const { instance } = entry;
    const revision = instance.remoteMetadata ? revisions?.get(instance.revision) : undefined;
    const metadata: Said<Parsed<ApplicationMetadata>> = revision ? said(revision.content) : { kind: 'nothing' };
    if (metadata.kind === 'unknown' || metadata.kind === 'unreadable') return metadata;
    if (metadata.kind === 'nothing') instances.push({ instance, metadata: undefined });
    else if ('value' in metadata.value) instances.push({ instance, metadata: metadata.value.value });
    else rejected.push({ record: `${application}/${instance.revision}`, reason: metadata.value.reason });
  }
  return { kind: 'something', value: { instances, rejected } };
}

function providedBy(revisions: Revisions): string[] {
  const names = new Set<string>();
  for (const { last } of revisions.values())
    if (last !== undefined && 'value' in last)
      for (const { service } of last.value.services) names.add(service.interface);
  return [...names];
}

function parsed<T>(parse: (text: string) => T): (text: string) => Parsed<T> {
  return (text) => {
    try {
      return { value: parse(text) };
    } catch (error) {
      return { reason: reasonOf(error) };
    }
  };
}
