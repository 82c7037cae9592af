import type { Server } from '#test/servers/process.js';

/** What the contract suite registers. */
export interface TestInstance {
  /** An IPv4 address that nobody needs to listen at. */
  readonly address: string;
  readonly port: number;
  /** Kept by the registry and shown as the instance's metadata, whatever else stands beside it. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** A registry's configuration: the keys beside `name` and `type`. */
export type RegistryKeys = Readonly<Record<string, unknown>>;

/**
 * One real registry and how to write into it: all that the contract suite needs to know of it. Service names are letters and dashes. What is registered
 * stays until it is deregistered, through a restart of the server too: by itself, or since the writer renews it as the registry's clients do.
 */
export interface RegistryUnderTest {
  /** Names it in the output: `Consul 1.17.0`. */
  readonly title: string;
  /** The adapter's `type`. */
  readonly type: string;
  /** The recipes to install; see test/servers. */
  readonly needs: readonly string[];
  /** Starts the server, empty. */
  start(): Promise<void>;
  /** Ends it, and whatever renews what was registered. */
  stop(): Promise<void>;
  /** The server's process and ports. Left out where there is no server (file): then the tests of one are left out, too. */
  server?(): {
    readonly process: Pick<Server, 'kill' | 'start' | 'pause' | 'resume'>;
    readonly port: number;
    /** Other ports that the source connects to, as distances from `port`. */
    readonly offsets?: readonly number[];
  };
  /** The configuration that reads the server at a port of 127.0.0.1, as fast as is sensible for a test. */
  keys(port: number): RegistryKeys;
  /** Under which key the instance shows what was registered under a key of its metadata; that key unless given. */
  shown?(key: string): string;
  /** Registers an instance, or registers it anew with other metadata. */
  register(service: string, instance: TestInstance): Promise<void>;
  deregister(service: string, instance: TestInstance): Promise<void>;
  /** Registers one instance of each of many services; a faster way than one by one, if there is one. */
  registerMany?(services: readonly string[], instance: TestInstance): Promise<void>;
  /** Adds to a service a record that the registry takes and no mesh can use. */
  malform(service: string): Promise<void>;
  /** Makes the registry say the same again: an unchanged re-registration, another order, a newer time stamp. */
  repeat(service: string, instances: readonly TestInstance[]): Promise<void>;
  /**
   * A server that wants credentials (or the registry's like of it), started for one test.
   * `wrong` cannot be read with, and holds `secret`, which must show nowhere; `right` can.
   */
  guarded(): Promise<{
    readonly right: RegistryKeys;
    readonly wrong: RegistryKeys;
    readonly secret: string;
    stop(): Promise<void>;
  }>;
  /** Requests per minute that reading 1,000 services may cost while nothing changes. */
  readonly idleRequestsPerMinute: number;
  /**
   * Watches a service with the registry's own client, or the plainest one, with nothing of Pontoon's. Calls back with `metadata.mark` of its instance as it is and
   * whenever it has changed.
   * @returns how to end it
   */
  watch(service: string, seen: (mark: string | undefined) => void): Promise<() => void | Promise<void>>;
}
