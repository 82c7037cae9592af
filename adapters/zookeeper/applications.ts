import {
  type ApplicationInstance,
  type ApplicationMetadata,
  parseApplicationInstance,
  parseApplicationMetadata,
  parseMapping,
} from '#adapters/dubbo/index.js';
import { reasonOf } from '#model/reason.js';
import type { Rejection } from '#model/service.js';
import type { Cause } from '#sources/contract.js';
import type { Followed, Following } from './follow.js';
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

/** Undefined for an instance that is not Dubbo's. */
type InstanceNode = Followed<Parsed<ApplicationInstance | undefined>>;
type RevisionNode = Followed<Parsed<ApplicationMetadata>>;

interface ApplicationNode {
  readonly list: Followed<readonly string[]>;
  readonly instances: Map<string, InstanceNode>;
  readonly revisions: Map<string, RevisionNode>;
}

/**
 * The application level: `<services>/<application>/<instance>`, and what each application provides: by its metadata,
 * `<metadata>/metadata/<application>/<revision>`, and by the mapping, `<metadata>/mapping/<interface>`.
 */
export class ApplicationLevel {
  readonly #following: Following;
  readonly #services: string;
  readonly #metadata: string;
  readonly #includes: (name: string) => boolean;
  readonly #listener: LevelListener;
  readonly #nodes = new Map<string, ApplicationNode>();
  readonly #mappings = new Map<string, Followed<readonly string[]>>();
  /** Which interfaces an application is known to provide: by the mapping, and by its metadata. */
  readonly #mapped = new Relation();
  readonly #provided = new Relation();
  readonly #list: Followed<readonly string[]>;
  readonly #mappingList: Followed<readonly string[]>;

  constructor(
    following: Following,
    roots: { readonly services: string; readonly metadata: string },
    includes: (name: string) => boolean,
    why: Cause,
    listener: LevelListener,
  ) {
    this.#following = following;
    this.#services = roots.services;
    this.#metadata = roots.metadata;
    this.#includes = includes;
    this.#listener = listener;
    const mapping = below(roots.metadata, 'mapping');
    this.#list = following.children(roots.services, 'everything', why, (cause) => this.#listChanged(cause));
    this.#mappingList = following.children(mapping, 'everything', why, (cause) => this.#mappingsChanged(cause));
  }

  names(): Iterable<string> {
    return new Set([...this.#mappings.keys(), ...this.#provided.values()]);
  }

  /** What applications give to an interface, if the mapping or the metadata of one names it. */
  read(name: string): Said<ApplicationContent> {
    if (this.#list.content === undefined || this.#mappingList.content === undefined) return { kind: 'unknown' };
    const mapping = this.#mappings.get(name);
    const mapped = mapping === undefined ? ({ kind: 'nothing' } as const) : said(mapping.content);
    if (mapped.kind === 'unknown' || mapped.kind === 'unreadable') return mapped;
    const applications = new Set(mapped.kind === 'something' ? mapped.value : []);
    for (const application of this.#provided.keysOf(name)) applications.add(application);
    if (mapped.kind === 'nothing' && applications.size === 0) return mapped;
    const instances: ApplicationContent['instances'][number][] = [];
    const rejected: Rejection[] = [];
    for (const application of [...applications].sort()) {
      const node = this.#nodes.get(application);
      if (node === undefined) continue;
      const found = readApplication(application, node);
      if (found.kind !== 'something') return found;
      instances.push(...found.value.instances);
      rejected.push(...found.value.rejected);
    }
    return { kind: 'something', value: { instances, rejected } };
  }

  stop(): void {
    this.#list.stop();
    this.#mappingList.stop();
    for (const mapping of this.#mappings.values()) mapping.stop();
    for (const node of this.#nodes.values()) stop(node);
  }

  #listChanged(cause: Cause): void {
    const { content } = this.#list;
    if (content?.kind === 'unreadable') {
      this.#listener.failed(content.error);
      return;
    }
    reconcile(
      this.#nodes,
      this.#list.last ?? [],
      (application) => this.#followApplication(application, cause),
      (application, node) => {
        stop(node);
        const interfaces = this.#interfacesOf(application);
        this.#provided.set(application, []);
        this.#tell(interfaces, cause);
      },
    );
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

  #followApplication(application: string, why: Cause): ApplicationNode {
    const path = below(this.#services, application);
    const instances = new Map<string, InstanceNode>();
    const revisions = new Map<string, RevisionNode>();
    const changed = (cause: Cause) => this.#applicationChanged(application, node, cause);
    const list = this.#following.children(path, 'emptiness', why, (cause) => {
      reconcile(
        instances,
        list.last ?? [],
        (child) => this.#following.data(below(path, child), parsed(parseApplicationInstance), cause, changed),
        (_, instance) => instance.stop(),
      );
      changed(cause);
    });
    const node = { list, instances, revisions };
    return node;
  }

  /** Follows the metadata that the instances name now, and tells the interfaces that the application had or has. */
  #applicationChanged(application: string, node: ApplicationNode, cause: Cause): void {
    const before = this.#interfacesOf(application);
    const wanted = new Set<string>();
    for (const instance of dubboInstances(node))
      if (instance.remoteMetadata && instance.revision !== '') wanted.add(instance.revision);
    reconcile(
      node.revisions,
      wanted,
      (revision) =>
        this.#following.data(
          below(this.#metadata, 'metadata', application, revision),
          parsed(parseApplicationMetadata),
          cause,
          (cause) => this.#applicationChanged(application, node, cause),
        ),
      (_, revision) => revision.stop(),
    );
    this.#provided.set(application, providedBy(node).filter(this.#includes));
    this.#tell(new Set([...before, ...this.#interfacesOf(application)]), cause);
  }

  #interfacesOf(application: string): Set<string> {
    return new Set([...this.#mapped.valuesOf(application), ...this.#provided.valuesOf(application)]);
  }

  #tell(interfaces: Iterable<string>, cause: Cause): void {
    for (const name of interfaces) this.#listener.changed(name, cause);
  }
}

function readApplication(application: string, node: ApplicationNode): Said<ApplicationContent> {
  const instances: ApplicationContent['instances'][number][] = [];
  const rejected: Rejection[] = [];
  const list = said(node.list.content);
  if (list.kind === 'unknown' || list.kind === 'unreadable') return list;
  for (const [child, followed] of node.instances) {
    const data = said(followed.content);
    // It went while it was read: its list will tell.
    if (data.kind === 'nothing') continue;
    if (data.kind !== 'something') return data;
    if ('reason' in data.value) {
      rejected.push({ record: `${application}/${child}`, reason: data.value.reason });
      continue;
    }
    const instance = data.value.value;
    if (instance === undefined) continue;
    const metadata = readMetadata(node, instance);
    if (metadata.kind === 'unknown' || metadata.kind === 'unreadable') return metadata;
    if (metadata.kind === 'nothing') instances.push({ instance, metadata: undefined });
    else if ('value' in metadata.value) instances.push({ instance, metadata: metadata.value.value });
    else rejected.push({ record: `${application}/${instance.revision}`, reason: metadata.value.reason });
  }
  return { kind: 'something', value: { instances, rejected } };
}

function readMetadata(node: ApplicationNode, instance: ApplicationInstance): Said<Parsed<ApplicationMetadata>> {
  const revision = node.revisions.get(instance.revision);
  return instance.remoteMetadata && revision !== undefined ? said(revision.content) : { kind: 'nothing' };
}

function* dubboInstances(node: ApplicationNode): Iterable<ApplicationInstance> {
  for (const { last } of node.instances.values())
    if (last !== undefined && 'value' in last && last.value !== undefined) yield last.value;
}

function providedBy(node: ApplicationNode): string[] {
  const names = new Set<string>();
  for (const { last } of node.revisions.values())
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

function stop(node: ApplicationNode): void {
  node.list.stop();
  for (const instance of node.instances.values()) instance.stop();
  for (const revision of node.revisions.values()) revision.stop();
}
