import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { tcpAnswer } from '#test/servers/probes.js';
import { Server, serverFolder, subfolder } from '#test/servers/process.js';

/** Options of {@link startZookeeper}. */
export interface ZookeeperOptions {
  /** Where its data is; its own folder if not given. */
  readonly dataDir?: string;
  readonly port?: number;
  /** The heap's upper bound in MiB; 384 if not given. */
  readonly heapMiB?: number;
  /** Lines of zoo.cfg beside or instead of the usual ones. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Its number within an ensemble. */
  readonly id?: number;
}

/** A ZooKeeper 3.9 server on loopback. */
export class Zookeeper extends Server {
  readonly port: number;

  constructor(port: number, { dataDir, settings, id, heapMiB }: ZookeeperOptions) {
    const folder = serverFolder('zookeeper');
    const data = dataDir ?? subfolder(folder, 'data');
    const all = {
      tickTime: 500,
      clientPort: port,
      clientPortAddress: '127.0.0.1',
      dataDir: data,
      '4lw.commands.whitelist': '*',
      ...settings,
    };
    const lines = Object.entries(all).map(([key, value]) => `${key}=${value}\n`);
    writeFileSync(join(folder, 'zoo.cfg'), lines.join(''));
    if (id !== undefined) writeFileSync(join(data, 'myid'), String(id));
    super({
      name: 'ZooKeeper',
      command: 'java',
      args: javaArgs({
        mainClass: 'org.apache.zookeeper.server.quorum.QuorumPeerMain',
        classPath: [`${installed('zookeeper')}/lib/*`],
        properties: { 'zookeeper.admin.enableServer': false },
        args: ['zoo.cfg'],
        ...(heapMiB === undefined ? {} : { heapMiB }),
      }),
      folder,
      ready: async () => (await tcpAnswer(port, 'srvr')).includes('Mode: '),
    });
    this.port = port;
  }

  /** What a client connects to: `127.0.0.1:port`. */
  get connectString(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The answer to a four letter word such as `cons`, `dump`, `mntr` or `wchp`. */
  command(word: string): Promise<string> {
    return tcpAnswer(this.port, word);
  }
}

/** Starts a ZooKeeper server and waits until it answers. */
export async function startZookeeper(options: ZookeeperOptions = {}): Promise<Zookeeper> {
  return new Zookeeper(options.port ?? (await freePort()), options).start();
}

/** Starts an ensemble of three servers and an observer, the last one, and waits until all answer. */
export async function startEnsemble(): Promise<Zookeeper[]> {
  const ids = [1, 2, 3, 4];
  const members = new Map<string, string>();
  for (const id of ids) {
    const role = id === 4 ? 'observer' : 'participant';
    members.set(`server.${id}`, `127.0.0.1:${await freePort()}:${await freePort()}:${role}`);
  }
  const common = { initLimit: 20, syncLimit: 10, ...Object.fromEntries(members) };
  const start = async (id: number) => {
    const settings = id === 4 ? { ...common, peerType: 'observer' } : common;
    return startZookeeper({ id, settings });
  };
  return Promise.all(ids.map(start));
}
