import { setMaxListeners } from 'node:events';
import type { SourceContext } from '#sources/contract.js';
import type { ServiceName } from './api.js';
import type { ConfigName, Configs } from './config.js';
import type { NacosConfig } from './schema.js';

/** What a client tells on its own. */
export interface Watcher {
  /**
   * A subscribed service changed, or may have.
   * @param ask gives what the server says of it: see decode.ts
   * @returns when the change has been dealt with; never rejects
   */
  changed(service: ServiceName, ask: () => Promise<unknown>): Promise<void>;
  /** The list of services changed, or may have. */
  listed(): void;
  /** A watched document of the config centre changed, or may have. */
  configured?(name: ConfigName): unknown;
  alive(): void;
  /** The subscriptions are lost, and the client with them. */
  lost(reason: Error): void;
}

/** A way to read Nacos's services. Whatever it cannot read is an error, never an empty answer. */
export interface NacosClient {
  /** All wanted services; complete, or an error. */
  list(): Promise<ServiceName[]>;
  /**
   * Asks to be told when the list changes from what was last listed.
   * @returns whether the server will do so; if not, only listing again shows it. Never rejects
   */
  watchList(): Promise<boolean>;
  /** Asks for a service, and for its changes from now on. */
  subscribe(service: ServiceName): Promise<unknown>;
  /** Ends the subscription, as well as it can. */
  unsubscribe(service: ServiceName): Promise<void>;
  /** Asks for a service once, in the plainest way. */
  query(service: ServiceName): Promise<unknown>;
  /** The config centre, where this way leads there. */
  readonly configs?: Pick<Configs, 'read' | 'watch'>;
  /** Ends all connections. */
  close(): Promise<void>;
}

/**
 * Makes clients of one registry. Fails as long as no server can be reached or logged in at.
 * @param signal ends all that the client does
 */
export type Connect = (watcher: Watcher, signal: AbortSignal) => Promise<NacosClient>;

/** A controller that also aborts with `signal`. Not AbortSignal.any: on Node 20 it keeps a little of each one while the first signal lives. */
export function controllerWithin(signal: AbortSignal): AbortController {
  const controller = new AbortController();
  // As many as there are questions at a time; each goes with its answer.
  setMaxListeners(0, controller.signal);
  const abort = () => controller.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true, signal: controller.signal });
  return controller;
}

export interface ClientOptions {
  readonly config: NacosConfig;
  readonly context: SourceContext;
}
