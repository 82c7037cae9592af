import { EventEmitter } from 'eventemitter3';
import type { Catalog } from '#catalog/catalog.js';
import { isSame } from '#config/fields.js';
import type { Projection } from '#istio/projection.js';
import { compareText } from '#model/mesh.js';
import type { ResourceFilter } from '#sinks/contract.js';
import { marker } from '#sinks/files/disk.js';
import { TakenHosts } from '#sinks/taken.js';
import { hostsText, originOf, type Zone, zoneOf } from './zone.js';

export interface NamesOptions {
  /** ms */
  readonly ttl: number;
  /** Suffixes that have a zone of their own. */
  readonly zones: readonly string[];
  readonly takes: ResourceFilter;
}

/**
 * The hosts and their virtual addresses, for DNS servers: a hosts file with all of them, and a zone for each suffix that is said to be ours. Other suffixes
 * have none: a server that is given the zone `com` would answer for all of it. Texts are made when they are asked for, and kept until a name changes.
 */
export class Names extends EventEmitter<{ change: [] }> {
  readonly #options: NamesOptions;
  readonly #addresses = new Map<string, readonly string[]>();
  #hosts: string | undefined;
  #zones: readonly Zone[] | undefined;

  constructor(projection: Projection, catalog: Catalog, options: NamesOptions) {
    super();
    this.#options = options;
    // The rest of a host's resources has nothing to do with its name.
    const taken = new TakenHosts((resource) => resource.type === 'ServiceEntry' && options.takes(resource));
    projection.on('change', (change) => {
      let isChanged = false;
      for (const host of taken.apply(change)) {
        const vips = taken.of(host) === undefined ? undefined : catalog.services.get(host)?.vips;
        if (this.#set(host.toLowerCase(), vips ?? [])) isChanged = true;
      }
      if (!isChanged) return;
      this.#hosts = undefined;
      this.#zones = undefined;
      this.emit('change');
    });
  }

  /** The hosts file. */
  hosts(): string {
    this.#hosts ??= hostsText(this.#addresses, marker);
    return this.#hosts;
  }

  /** The zones that have a name, in the order of their origins. */
  zones(): readonly Zone[] {
    this.#zones ??= this.#build();
    return this.#zones;
  }

  /** All of it as files: path → text. Zones are named as CoreDNS' `auto` looks for them. */
  files(): Map<string, string> {
    const files = new Map([['dns/hosts', this.hosts()]]);
    for (const { origin, text } of this.zones()) files.set(`dns/db.${origin}`, text);
    return files;
  }

  #set(host: string, vips: readonly string[]): boolean {
    if (isSame(this.#addresses.get(host) ?? [], vips)) return false;
    if (vips.length === 0) this.#addresses.delete(host);
    else this.#addresses.set(host, vips);
    return true;
  }

  #build(): Zone[] {
    const { zones, ttl } = this.#options;
    const suffixes = zones.map((zone) => zone.toLowerCase());
    const byOrigin = new Map<string, Map<string, readonly string[]>>();
    for (const [host, vips] of this.#addresses) {
      const origin = originOf(host, suffixes);
      if (origin === undefined) continue;
      const names = byOrigin.get(origin) ?? new Map();
      byOrigin.set(origin, names.set(host, vips));
    }
    return [...byOrigin]
      .sort(([a], [b]) => compareText(a, b))
      .map(([origin, names]) => zoneOf(origin, names, Math.max(1, Math.round(ttl / 1_000)), marker));
  }
}
