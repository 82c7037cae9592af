import { pino } from 'pino';
import { nameFilter } from '#config/fields.js';
import type { RegistryConfig } from '#config/schema.js';
import { reasonOf } from '#model/reason.js';
import { serviceId } from '#model/service.js';
import type { SourceOutput, SourceState } from '#sources/contract.js';
import { adapterOf } from '../registries.js';
import { within } from './dial.js';

/** What came of reading a registry once. */
export type Reading =
  | { readonly services: number; readonly instances: number; readonly unreadable: readonly string[] }
  | { readonly error: string };

/** ms that a source has to close its connections. */
const closingMs = 2_000;

/** Reads a registry as the bridge does, until everything is there or the first error. */
export async function readOnce(registry: RegistryConfig, limitMs: number): Promise<Reading> {
  const stop = new AbortController();
  const includes = nameFilter(registry.include, registry.exclude);
  const log = pino({ level: 'silent' });
  const instances = new Map<string, number>();
  const unreadable: string[] = [];
  let state: SourceState = { kind: 'connecting' };
  let running: Promise<void> = Promise.resolve();
  const whole = new Promise<void>((resolve, reject) => {
    const out: SourceOutput = {
      listing: () => ({
        add: (services) => {
          for (const {
            key,
            instances: { length },
          } of services)
            instances.set(serviceId(key), length);
        },
        commit: () => resolve(),
      }),
      update: (changed) => {
        for (const {
          key,
          instances: { length },
        } of changed)
          instances.set(serviceId(key), length);
      },
      unreadable: ({ name }, error) => unreadable.push(`${name} (${reasonOf(error)})`),
      alive: () => undefined,
      state: (next) => {
        state = next;
        if ('error' in next) reject(next.error);
        if (next.kind === 'live') resolve();
      },
    };
    const source = adapterOf(registry).source(registry, { registry: registry.name, log, includes });
    running = source.run(out, stop.signal);
    running.catch(reject);
  });
  try {
    await within(whole, limitMs);
    return {
      services: instances.size,
      instances: [...instances.values()].reduce((sum, count) => sum + count, 0),
      unreadable,
    };
  } catch (error) {
    const reason = reasonOf(error);
    return {
      error: reason.startsWith('no answer within')
        ? `not read completely within ${limitMs / 1000} s (it is ${state.kind})`
        : reason,
    };
  } finally {
    stop.abort();
    await within(running, closingMs).catch(() => undefined);
  }
}
