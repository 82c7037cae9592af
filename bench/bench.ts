import { setTimeout as sleep } from 'node:timers/promises';
import { Figures, type Taken } from './figures.js';
import { ConsulLoad } from './loads/consul.js';
import { EurekaLoad } from './loads/eureka.js';
import type { Load, RegistryName } from './loads/load.js';
import { NacosLoad } from './loads/nacos.js';
import { ZookeeperLoad } from './loads/zookeeper.js';
import { Bystander } from './measure.js';
import { Run, type RunOptions } from './run.js';
import type { Scale } from './scale.js';

/** One thing that is measured. */
export interface Scenario {
  readonly name: string;
  /** For people: what happens. */
  readonly title: string;
  readonly run: (bench: Bench) => Promise<void>;
}

const loads: Readonly<Record<RegistryName, new () => Load>> = {
  zookeeper: ZookeeperLoad,
  nacos: NacosLoad,
  eureka: EurekaLoad,
  consul: ConsulLoad,
};

/** What scenarios have in common: registries with their load, and where figures go. */
export class Bench {
  readonly scale: Scale;
  readonly figures = new Figures();
  readonly bystander = new Bystander();
  readonly tell: (text: string) => void;
  readonly #loads = new Map<string, Load>();
  #scenario = '';

  constructor(scale: Scale, tell: (text: string) => void) {
    this.scale = scale;
    this.tell = tell;
  }

  async run(scenario: Scenario): Promise<void> {
    this.#scenario = scenario.name;
    const begun = performance.now();
    this.tell(`${scenario.name}: ${scenario.title}`);
    try {
      await scenario.run(this);
    } catch (error) {
      this.figures.wrong.push(`${scenario.name}: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
    }
    // The large ones are worth keeping.
    for (const [key, load] of this.#loads)
      if (!key.endsWith(` ${this.scale.services} ${this.scale.instances}`)) await this.#end(key, load);
    this.tell(`${scenario.name}: ${((performance.now() - begun) / 1_000).toFixed(0)} s`);
  }

  /** A registry with so many services, all unless given. It is shared: what a scenario changes it puts back. */
  async load(name: RegistryName, services = this.most(name), instances = this.scale.instances): Promise<Load> {
    const key = `${name} ${services} ${instances}`;
    let load = this.#loads.get(key);
    if (load === undefined) {
      load = new loads[name]();
      this.#loads.set(key, load);
      await load.start();
      const begun = performance.now();
      await load.fill(services, instances);
      this.tell(
        `  ${name} holds ${services} × ${instances} after ${((performance.now() - begun) / 1_000).toFixed(1)} s`,
      );
    }
    return load;
  }

  /** A registry of which the server can be ended. */
  async ownLoad(name: RegistryName, services: number): Promise<Load> {
    const load = new loads[name]();
    this.#loads.set(`${name} own`, load);
    await load.start();
    await load.fill(services, this.scale.instances);
    return load;
  }

  /** Lets what was begun come to its end. @param ms in full; the quick form measures no time */
  async settle(ms: number): Promise<void> {
    await sleep(this.scale.name === 'full' ? ms : ms / 15);
  }

  /** So many services that the real server bears. */
  most(name: RegistryName): number {
    return Math.min(this.scale.services, this.scale.most[name]);
  }

  start(options: RunOptions): Promise<Run> {
    return Run.start(options);
  }

  /** Ends a run after a look at what its clients hold. */
  async end(run: Run, what: string): Promise<void> {
    this.figures.wrong.push(...(await run.differences()).map((text) => `${this.#scenario}, ${what}: ${text}`));
    await run.stop();
  }

  take(taken: Taken): void {
    this.figures.take(this.#scenario, taken);
    const floor = taken.floor === undefined ? '' : ` (${taken.beside ?? 'floor'}: ${taken.floor.toFixed(2)})`;
    this.tell(`  ${taken.what}: ${taken.ours.toFixed(2)} ${taken.unit}${floor}`);
  }

  async stop(): Promise<void> {
    this.bystander.stop();
    for (const [key, load] of this.#loads) await this.#end(key, load);
  }

  async #end(key: string, load: Load): Promise<void> {
    this.#loads.delete(key);
    await load.stop();
  }
}
