import {
  type ApplicationInstance,
  type ApplicationMetadata,
  parseApplicationMetadata,
  parseMapping,
  type ServiceNote,
} from '#adapters/dubbo/index.js';
import { reasonOf } from '#model/reason.js';
import type { Rejection } from '#model/service.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
import type { Entry, Instances } from './instances.js';
import { type LevelListener, type Said, said } from './level.js';
import { LocalMetadata } from './localmetadata.js';
import { below, nameOf, reconcile } from './paths.js';
import { Relation } from './relation.js';

export interface ApplicationContent {
  /** Instances of the applications that provide an interface, each with its metadata where the metadata centre or the instance itself tells it. */
  readonly instances: readonly {
    readonly instance: ApplicationInstance;
    readonly metadata: ApplicationMetadata | undefined;
  }[];
  readonly rejected: readonly Rejection[];
  readonly notes: readonly ServiceNote[];
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
  readonly #local: LocalMetadata;

  /**
   * @param metadata znode that holds `metadata` and `mapping`
   * @param retry ms until an instance that has not answered is asked again for its metadata
   */
  constructor(
    following: Following,
    instances: Instances,
    metadata: string,
    includes: (name: string) => boolean,
    retry: number,
    why: Cause,
    listener: LevelListener,
  ) {
    this.#following = following;
    this.#instances = instances;
    this.#metadata = metadata;
    this.#includes = includes;
    this.#listener = listener;
    this.#local = new LocalMetadata(following, retry, (application, cause) =>
      this.#applicationChanged(application, cause),
    );
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
    const notes: ServiceNote[] = [];
    for (const application of [...applications].sort()) {
      const entries = this.#instances.read(application);
      if (entries.kind === 'nothing') continue;
      if (entries.kind !== 'something') return entries;
      const found = this.#read(application, entries.value);
      if (found.kind !== 'something') return found;
      instances.push(...found.value.instances);
      rejected.push(...found.value.rejected);
      notes.push(...found.value.notes);
    }
    return { kind: 'something', value: { instances, rejected, notes } };
  }

  stop(): void {
    this.#local.stop();
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
    const local: ApplicationInstance[] = [];
    for (const entry of this.#instances.last(application)) {
      if (entry.kind !== 'dubbo' || entry.instance.revision === '') continue;
      if (entry.instance.remoteMetadata) wanted.add(entry.instance.revision);
      else local.push(entry.instance);
    }
    this.#local.sync(application, local);
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
    const all = [...metadataIn(revisions), ...this.#local.answers(application)];
    const names = all.flatMap(({ services }) => services.map(({ service }) => service.interface));
    this.#provided.set(application, [...new Set(names)].filter(this.#includes));
    for (const name of new Set([...before, ...this.#interfacesOf(application)])) this.#listener.changed(name, cause);
  }

  #read(application: string, entries: ReadonlyMap<string, Entry>): Said<ApplicationContent> {
    const instances: ApplicationContent['instances'][number][] = [];
    const rejected: Rejection[] = [];
    const notes: ServiceNote[] = [];
    for (const [child, entry] of entries) {
      const record = `${application}/${child}`;
      if (entry.kind === 'malformed') rejected.push({ record, reason: entry.reason });
      if (entry.kind !== 'dubbo') continue;
      const { instance } = entry;
      const found = this.#metadataOf(application, instance);
      if (found.kind === 'unknown' || found.kind === 'unreadable') return found;
      if (found.kind === 'nothing') instances.push({ instance, metadata: undefined });
      else if ('value' in found.value) instances.push({ instance, metadata: found.value.value });
      else if (instance.remoteMetadata)
        rejected.push({ record: `${application}/${instance.revision}`, reason: found.value.reason });
      else {
        instances.push({ instance, metadata: undefined });
        notes.push({ note: { record, text: `group and version as once published: ${found.value.reason}` } });
      }
    }
    return { kind: 'something', value: { instances, rejected, notes } };
  }

  #metadataOf(application: string, instance: ApplicationInstance): Said<Parsed<ApplicationMetadata>> {
    if (instance.revision === '') return { kind: 'nothing' };
    if (instance.remoteMetadata) {
      const revision = this.#revisions.get(application)?.get(instance.revision);
      return revision === undefined ? { kind: 'nothing' } : said(revision.content);
    }
    const answer = this.#local.read(application, instance.revision);
    if (answer.kind === 'unknown') return answer;
    const value = answer.kind === 'metadata' ? { value: answer.metadata } : { reason: answer.error.message };
    return { kind: 'something', value };
  }

  #interfacesOf(application: string): Set<string> {
    return new Set([...this.#mapped.valuesOf(application), ...this.#provided.valuesOf(application)]);
  }
}

function* metadataIn(revisions: Revisions): Iterable<ApplicationMetadata> {
  for (const { last } of revisions.values()) if (last !== undefined && 'value' in last) yield last.value;
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
