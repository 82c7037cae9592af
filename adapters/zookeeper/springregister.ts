import type { Cause } from '#sources/contract.js';
import type { Instances } from './instances.js';
import type { PersistentNodes } from './persistent.js';
import { namespaceOf, type Outcome, type Register, type RegisterListener, type Told } from './register.js';
import { springService } from './springcloud.js';

/** Spring Cloud's services: `<root>/<application>/<instance>`. */
export class SpringRegister implements Register {
  readonly namespace: string;
  readonly #registry: string;
  readonly #instances: Instances;
  readonly #persistent: PersistentNodes | undefined;
  readonly #includes: (name: string) => boolean;

  constructor(
    registry: string,
    instances: Instances,
    includes: (name: string) => boolean,
    persistent: PersistentNodes | undefined,
    { changed, failed }: RegisterListener,
  ) {
    this.namespace = namespaceOf(instances.root);
    this.#registry = registry;
    this.#instances = instances;
    this.#persistent = persistent;
    this.#includes = includes;
    instances.listen({ changed: (name, cause) => includes(name) && changed(this, name, cause), failed });
  }

  *names(): Iterable<string> {
    for (const name of this.#instances.names()) if (this.#includes(name)) yield name;
  }

  evaluate(name: string, _why: Cause, { keys }: Told): Outcome {
    const entries = this.#instances.read(name);
    if (entries.kind === 'nothing') return { kind: 'gone' };
    if (entries.kind !== 'something') return entries;
    const key = { registry: this.#registry, namespace: this.namespace, group: '', name, version: '' };
    const service = springService(key, entries.value, keys !== undefined);
    if (service === undefined) return { kind: 'gone' };
    return { kind: 'services', services: [this.#persistent?.annotate(service) ?? service] };
  }

  stop(): void {
    this.#instances.stop();
  }
}
