import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { parseConfig } from '#config/load.js';
import type { Coordination, Json } from '#coordination/contract.js';
import { openCoordination } from '#coordination/coordination.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** A real store, and how replicas reach it. */
export interface Stage {
  /** The type of coordination. */
  readonly kind: string;
  /** ms within which another candidate leads when the leader is gone. */
  readonly takeover: number;
  /** Port of the store, where it has one. */
  readonly port: number | undefined;
  start(context: Mocha.Context): Promise<void>;
  stop(): Promise<void>;
  /**
   * The configuration of a replica.
   * @param group of replicas, with documents of its own
   * @param port on which the store is to be reached
   */
  config(group: string, port: number | undefined): { readonly coordination: object; readonly registries?: object[] };
  /** Takes the store away, as a crash does, and brings it back with its content. */
  away(): Promise<void>;
  back(): Promise<void>;
  /** The store's process, if it has one that can be frozen. */
  readonly server?: Pick<Server, 'pause' | 'resume'>;
  /** Ceiling for what clients send in a minute while nothing changes, in pieces of TCP: of a replica that watches, and of one that leads, too. */
  readonly idle?: { readonly watching: number; readonly leading: number };
}

const program = fileURLToPath(new URL('./candidate.js', import.meta.url));

function configText(stage: Stage, group: string, port = stage.port): string {
  const registries = [{ name: 'none', type: 'file', path: 'none.yaml' }];
  return JSON.stringify({ registries, ...stage.config(group, port) });
}

/** A replica within this process, and what it has heard. */
export class Replica {
  readonly coordination: Coordination;

  constructor(stage: Stage, group: string, port?: number) {
    const { coordination: config, registries } = parseConfig(configText(stage, group, port), 'test.json');
    this.coordination = openCoordination(config, { log: pino({ level: 'silent' }), registries });
  }

  /** All contents of a document as they come. */
  heard(name: string): (Json | undefined)[] {
    const contents: (Json | undefined)[] = [];
    this.coordination.watch(name, (content) => contents.push(content));
    return contents;
  }
}

/** A replica as a process of its own, which takes part in one election. */
export class Candidate extends Server {
  constructor(stage: Stage, group: string, role: string, port?: number) {
    const folder = serverFolder('candidate');
    const config = join(folder, 'config.json');
    writeFileSync(config, configText(stage, group, port));
    super({
      name: 'candidate',
      command: process.execPath,
      args: ['--enable-source-maps', program, config, role],
      folder,
      ready: () => this.log().includes('candidate'),
    });
  }

  /** Times at which it said something, in ms of the clock that all processes share. */
  times(what: 'leads' | 'follows' | 'acts' | 'closed'): number[] {
    return this.log()
      .split('\n')
      .filter((line) => line.endsWith(` ${what}`))
      .map((line) => Number(line.split(' ')[0]));
  }

  /** By what it said last. */
  get leads(): boolean {
    return (this.times('leads').at(-1) ?? 0) > (this.times('follows').at(-1) ?? 0);
  }
}

/** ms of the clock that all processes share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
