import { z } from 'zod';
import { nameFilter } from '#config/fields.js';
import type { PublicationConfig } from '#config/publications.js';
import type { Metadata } from '#model/service.js';
import {
  type Condition,
  type EndpointScope,
  endpointCondition,
  type PublicationScope,
  publicationCondition,
  publicationTemplate,
  type Template,
} from '#policy/expression.js';
import type { TargetKind } from './contract.js';
import { marked } from './mark.js';

/** What of a publication's registry decides how services stand there. */
export interface PublicationTarget {
  /** The registry's `type`: the name of the publication's own block for it. */
  readonly type: string;
  readonly kind: TargetKind;
  /** Globs of names that the registry's source reads. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

/** A publication of the configuration, compiled once. */
export class Publication {
  readonly config: PublicationConfig;
  readonly kind: TargetKind;
  /** Its place in the configuration: of two that want one service the first has it. */
  readonly order: number;
  readonly selects: Condition<PublicationScope>;
  readonly name: Template<PublicationScope>;
  readonly takes: Condition<EndpointScope>;
  /** Whether the registry's source reads services of this name. */
  readonly reads: (name: string) => boolean;
  readonly #copies: (key: string) => boolean;
  readonly #set: readonly (readonly [string, Template<PublicationScope>])[];
  readonly #settings: (scope: PublicationScope) => unknown;

  /** @throws ExpressionError if a template or condition cannot be compiled */
  constructor(config: PublicationConfig, order: number, { type, kind, include, exclude }: PublicationTarget) {
    this.config = config;
    this.kind = kind;
    this.order = order;
    this.selects = publicationCondition(config.when);
    this.name = publicationTemplate(config.as ?? kind.as);
    this.takes = config.endpoints === undefined ? () => true : endpointCondition(config.endpoints);
    this.reads = nameFilter(include, exclude);
    const { copy, drop, set } = config.metadata;
    this.#copies = copy.length === 0 ? () => false : nameFilter(copy, drop);
    this.#set = Object.entries(set).map(([key, template]) => [key, publicationTemplate(template)]);
    const block = (config as Record<string, unknown>)[type];
    this.#settings = settingsTemplate(block ?? defaultSettings(kind));
  }

  /** An instance's metadata as they are to stand there, without the mark. Marks of others are no metadata of the instance. */
  metadata(own: Metadata, scope: PublicationScope): Metadata {
    const copied = Object.entries(own).filter(([key]) => this.#copies(key) && !(key in noMark));
    const set = this.#set.flatMap(([key, fill]) => {
      const value = fill(scope);
      return value === undefined ? [] : [[key, value] as const];
    });
    return Object.fromEntries([...copied, ...set]);
  }

  /** Its block for the registry, with what is said of this service. @throws Error if a template has no value */
  settings(scope: PublicationScope): unknown {
    return this.#settings(scope);
  }
}

const noMark = marked({ owner: '', run: '', publication: '', host: '' });

/** A target's block where a publication has none. */
export function defaultSettings(kind: TargetKind): unknown {
  return z.object(kind.fields).parse({});
}

/** Compiles each string with `{{` in a block. @throws ExpressionError */
export function settingsTemplate(value: unknown): (scope: PublicationScope) => unknown {
  if (typeof value === 'string' && value.includes('{{')) {
    const fill = publicationTemplate(value);
    return (scope) => {
      const text = fill(scope);
      if (text === undefined) throw new Error(`${value} has no value for this service`);
      return text;
    };
  }
  if (Array.isArray(value)) {
    const parts = value.map(settingsTemplate);
    return (scope) => parts.map((part) => part(scope));
  }
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    const parts = Object.entries(value).map(([key, part]) => [key, settingsTemplate(part)] as const);
    return (scope) => Object.fromEntries(parts.map(([key, part]) => [key, part(scope)]));
  }
  return () => value;
}
