import { setTimeout as sleep } from 'node:timers/promises';
import type { PublicationsReport } from '#admin/publications.js';
import type { Nacos } from '#test/servers/nacos.js';
import type { Pontoon, PontoonConfig } from '#test/servers/pontoon.js';
import { until } from '#test/servers/probes.js';
import { listed, registerSelf, removeSelf } from './nacosentries.js';

const members = ['red', 'green', 'blue'] as const;
const services = 8;
const addresses = 12;
const stepMs = 60;
/** ms between two counts. */
const checkMs = 15_000;
const group = 'DEFAULT_GROUP';

/** What a ring came to. */
export interface Churned {
  readonly steps: number;
  /** Where the number of entries was not what it should be, and is: with the time. */
  readonly off: readonly string[];
}

/**
 * Three registries, each in a namespace of one Nacos, of which each is published into the next. What registers itself in one stands there and in the next one, once,
 * and nowhere else.
 */
export class Ring {
  readonly #nacos: Nacos;
  /** Own instances, as `member service last`. */
  readonly #own = new Set<string>();

  constructor(nacos: Nacos) {
    this.#nacos = nacos;
  }

  async config(): Promise<PontoonConfig> {
    for (const member of members) {
      const form = { customNamespaceId: `ring-${member}`, namespaceName: member, namespaceDesc: '' };
      const body = new URLSearchParams(form);
      await this.#nacos.fetch('/v1/console/namespaces', { method: 'POST', body });
    }
    return {
      registries: members.map((member) => ({
        name: member,
        type: 'nacos',
        servers: [this.#nacos.address],
        namespaces: [`ring-${member}`],
        pollInterval: '1s',
      })),
      publications: members.map((member, index) => {
        const next = members[(index + 1) % members.length] ?? member;
        return {
          name: `${member}-to-${next}`,
          when: `"${member}" in mesh.registries`,
          to: next,
          as: '{{ mesh.name }}',
          nacos: { namespace: `ring-${next}` },
        };
      }),
      guards: { registry: { maxLoss: '100%' }, service: { maxLoss: '100%' }, probe: 'off' },
      state: { owner: 'ring' },
    };
  }

  /** Instances come and go for so long; every now and then they rest, and the entries are counted. @param told hears of each count */
  async churn(pontoon: Pontoon, ms: number, told: (text: string) => void = () => undefined): Promise<Churned> {
    const off: string[] = [];
    const begun = performance.now();
    let steps = 0;
    while (performance.now() - begun < ms) {
      const pause = performance.now() + Math.min(checkMs, ms - (performance.now() - begun));
      while (performance.now() < pause) {
        await this.#step();
        steps++;
        await sleep(stepMs);
      }
      const found = await this.#settled(pontoon);
      const text = `${Math.round((performance.now() - begun) / 1000)} s, ${steps} steps: ${found ?? 'exact'}`;
      told(text);
      if (found !== undefined) off.push(text);
    }
    return { steps, off };
  }

  async #step(): Promise<void> {
    const index = Math.floor(Math.random() * members.length);
    const member = members[index] ?? 'red';
    const service = Math.floor(Math.random() * services);
    const last = 1 + Math.floor(Math.random() * addresses);
    const key = `${member} ${service} ${last}`;
    const place = {
      namespace: `ring-${member}`,
      name: `s${service}`,
      ip: `10.${20 + index}.${service}.${last}`,
      port: 80,
    };
    if (this.#own.delete(key)) await removeSelf(this.#nacos, place);
    else {
      this.#own.add(key);
      await registerSelf(this.#nacos, place);
    }
  }

  /** @returns what is wrong, if the numbers do not become exact, or do not stay so */
  async #settled(pontoon: Pontoon): Promise<string | undefined> {
    let found = '';
    const isExact = async (): Promise<boolean> => {
      found = '';
      for (const [index, member] of members.entries()) {
        const before = members[(index + members.length - 1) % members.length] ?? member;
        for (let service = 0; service < services; service++) {
          const wanted = this.#count(member, service) + this.#count(before, service);
          const { length } = await listed(this.#nacos, group, `s${service}`, `ring-${member}`);
          if (length !== wanted) found += `s${service} has ${length} of ${wanted} entries in ${member}; `;
        }
      }
      const { targets } = (await pontoon.get('/api/v1/publications')) as PublicationsReport;
      return found === '' && targets.every(({ pending, conflicts }) => pending + conflicts === 0);
    };
    await until('the numbers are exact', isExact, 20_000, 250).catch(() => undefined);
    if (found !== '') return found;
    await sleep(500);
    return (await isExact()) || found === '' ? undefined : found;
  }

  #count(member: string, service: number): number {
    return [...this.#own].filter((key) => key.startsWith(`${member} ${service} `)).length;
  }
}
