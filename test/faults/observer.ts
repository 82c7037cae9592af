import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { entriesOf } from '#test/e2e/world.js';
import type { Istiod } from '#test/servers/istiod.js';
import type { Pontoon } from '#test/servers/pontoon.js';

/** ms between two looks at istiod. */
const pause = 100;
/** Pontoon's API is asked once in so many looks. */
const every = 5;
/** ms of CPU in a clock tick of Linux. */
const tickMs = 10;
/** ms after a start of Pontoon that are Node's own start-up and not the outage's. */
const startMs = 3_000;

/** An endpoint that was away although its workload lived. */
export interface Loss {
  /** ms since the scene began. */
  readonly at: number;
  readonly host: string;
  readonly endpoint: string;
  /** ms until it was there again; infinite while it is not. */
  length: number;
}

/** What is looked at. */
export interface Watched {
  readonly istiod: Istiod;
  /** The one whose state and CPU are shown. */
  readonly pontoon: Pontoon;
  /** Host → its column's title. */
  readonly columns: ReadonlyMap<string, string>;
  /** The endpoints that live now: once istiod has had one it must not be away. */
  readonly living: () => Iterable<readonly [host: string, endpoints: readonly string[]]>;
}

interface Api {
  /** `registry state`, of each registry. */
  readonly states: string;
  /** Instances that guards hold. */
  readonly held: number;
}

/** Looks at istiod ten times a second, writes down what is missing, and prints a line whenever something has changed. */
export class Observer {
  readonly losses: Loss[] = [];
  /** Host → its endpoints, as istiod holds them. */
  endpoints: ReadonlyMap<string, ReadonlySet<string>> = new Map();
  /** Host → how often istiod took in another version of it. */
  readonly versions = new Map<string, number>();
  held = 0;
  states = '';
  readonly #watched: Watched;
  readonly #begun = performance.now();
  readonly #version = new Map<string, string>();
  readonly #seen = new Set<string>();
  /** `host endpoint` of what is away now. */
  readonly #missing = new Map<string, Loss>();
  readonly #widths: number[];
  readonly #cpu = new Cpu();
  #printed = '';
  #over = false;
  #done: Promise<void> = Promise.resolve();

  constructor(watched: Watched) {
    this.#watched = watched;
    this.#widths = [...watched.columns.values()].map((title) => Math.max(9, title.length));
  }

  /** Looks for the first time, and goes on looking until stopped. */
  async start(): Promise<void> {
    const titles = [...this.#watched.columns.values()].map((title, index) => title.padStart(this.#widths[index] ?? 0));
    print(['s'.padStart(6), ...titles, 'held', 'CPU %', 'registries and events'].join('  '));
    await this.#ask();
    await this.#look();
    this.#done = this.#keepLooking();
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#done;
  }

  /** Prints an event. */
  note(text: string): void {
    this.#line(`- ${text}`);
  }

  /** Pontoon's share of a core since the last call, in per cent. */
  share(): number {
    return this.#cpu.take();
  }

  async #keepLooking(): Promise<void> {
    for (let look = 1; !this.#over; look++) {
      await sleep(pause);
      // Pontoon's API may hang where istiod answers: a look at one does not wait for the other.
      if (look % every === 0) void this.#ask();
      await this.#look();
    }
  }

  async #look(): Promise<void> {
    const { istiod, pontoon, columns } = this.#watched;
    this.#cpu.look(pontoon.pid);
    const entries = await entriesOf(istiod).catch(() => undefined);
    if (entries === undefined) return;
    const before = this.endpoints;
    const now = new Map<string, Set<string>>();
    for (const { metadata, spec } of entries.values()) {
      const [host = ''] = spec.hosts;
      if (!columns.has(host)) continue;
      now.set(
        host,
        new Set((spec.endpoints ?? []).map(({ address, ports }) => `${address}:${Object.values(ports)[0]}`)),
      );
      if (this.#version.get(host) === metadata.resourceVersion) continue;
      this.#version.set(host, metadata.resourceVersion);
      this.versions.set(host, (this.versions.get(host) ?? 0) + 1);
    }
    this.endpoints = now;
    this.#compare();
    if (isOther(before, now) || this.#state !== this.#printed) this.#line('', before);
  }

  /** What is away is written down once, until it is back. */
  #compare(): void {
    const living = [...this.#watched.living()].flatMap(([host, endpoints]) => endpoints.map((each) => [host, each]));
    const away = new Set<string>();
    for (const [host = '', endpoint = ''] of living) {
      const key = `${host} ${endpoint}`;
      if (this.endpoints.get(host)?.has(endpoint)) this.#seen.add(key);
      else if (this.#seen.has(key)) {
        away.add(key);
        if (!this.#missing.has(key))
          this.#lose(key, { at: this.#now, host, endpoint, length: Number.POSITIVE_INFINITY });
      }
    }
    for (const [key, loss] of this.#missing)
      if (!away.has(key)) {
        loss.length = this.#now - loss.at;
        this.#missing.delete(key);
      }
  }

  #lose(key: string, loss: Loss): void {
    this.losses.push(loss);
    this.#missing.set(key, loss);
  }

  async #ask(): Promise<void> {
    const api = await ask(this.#watched.pontoon).catch(() => ({ states: 'Pontoon does not answer', held: 0 }));
    this.states = api.states;
    this.held = api.held;
  }

  get #now(): number {
    return Math.round(performance.now() - this.#begun);
  }

  get #state(): string {
    return `${this.held} ${this.states}`;
  }

  #line(event: string, before: ReadonlyMap<string, ReadonlySet<string>> = this.endpoints): void {
    this.#printed = this.#state;
    const cells = [...this.#watched.columns.keys()].map((host, index) =>
      cell(before.get(host), this.endpoints.get(host)).padStart(this.#widths[index] ?? 0),
    );
    const lost = this.#missing.size > 0 ? `LOST ${this.#missing.size} ` : '';
    const rest = event === '' ? `${lost}${this.states}` : `${lost}${event}`;
    const time = (this.#now / 1_000).toFixed(1).padStart(6);
    const share = this.#cpu.sinceLine().toFixed(1).padStart(5);
    print([time, ...cells, String(this.held).padStart(4), share, rest].join('  '));
  }
}

/** CPU time of a process that may be another one after a restart. */
class Cpu {
  #pid: number | undefined;
  #seenAt = 0;
  #ticks = 0;
  #at = performance.now();
  #sum = { cpu: 0, wall: 0 };
  #line = { cpu: 0, wall: 0 };

  look(pid: number | undefined): void {
    const now = performance.now();
    const ticks = ticksOf(pid);
    if (pid !== this.#pid) {
      this.#pid = pid;
      this.#seenAt = now;
    } else if (ticks !== undefined && now - this.#seenAt > startMs) {
      const cpu = (ticks - this.#ticks) * tickMs;
      const wall = now - this.#at;
      for (const total of [this.#sum, this.#line]) {
        total.cpu += cpu;
        total.wall += wall;
      }
    }
    this.#ticks = ticks ?? 0;
    this.#at = now;
  }

  take(): number {
    const { cpu, wall } = this.#sum;
    this.#sum = { cpu: 0, wall: 0 };
    return wall === 0 ? 0 : (cpu / wall) * 100;
  }

  sinceLine(): number {
    const { cpu, wall } = this.#line;
    this.#line = { cpu: 0, wall: 0 };
    return wall === 0 ? 0 : (cpu / wall) * 100;
  }
}

/** User and system time, in clock ticks; undefined if there is no such process. */
function ticksOf(pid: number | undefined): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return undefined;
  }
}

async function ask(pontoon: Pontoon): Promise<Api> {
  const [registries, { holds }] = await Promise.all([
    pontoon.registries(),
    pontoon.guards().catch(() => ({ holds: [] })),
  ]);
  return {
    states: registries.map(({ registry, state }) => `${registry} ${state}`).join(', '),
    held: holds.reduce((sum, { instances }) => sum + instances.length, 0),
  };
}

/** The number of endpoints, and how many came and went. */
function cell(before: ReadonlySet<string> | undefined, now: ReadonlySet<string> | undefined): string {
  if (now === undefined) return '-';
  const come = [...now].filter((endpoint) => before?.has(endpoint) === false).length;
  const gone = [...(before ?? [])].filter((endpoint) => !now.has(endpoint)).length;
  return [`${now.size}`, ...(come > 0 ? [`+${come}`] : []), ...(gone > 0 ? [`-${gone}`] : [])].join(' ');
}

function isOther(
  before: ReadonlyMap<string, ReadonlySet<string>>,
  now: ReadonlyMap<string, ReadonlySet<string>>,
): boolean {
  if (before.size !== now.size) return true;
  return [...now].some(([host, endpoints]) => {
    const known = before.get(host);
    return known === undefined || known.size !== endpoints.size || [...endpoints].some((each) => !known.has(each));
  });
}

function print(line: string): void {
  console.log(`      ${line}`);
}
