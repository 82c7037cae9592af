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
}

/** A ZooKeeper 3.9 server on loopback. */
export class Zookeeper extends Server {
  readonly port: number;

  constructor(port: number, { dataDir }: ZookeeperOptions) {
    const folder = serverFolder('zookeeper');
    writeFileSync(
      join(folder, 'zoo.cfg'),
      [
        'tickTime=500',
        `clientPort=${port}`,
        'clientPortAddress=127.0.0.1',
        `dataDir=${dataDir ?? subfolder(folder, 'data')}`,
        '4lw.commands.whitelist=*',
        '',
      ].join('\n'),
    );
    super({
      name: 'ZooKeeper',
      command: 'java',
      args: javaArgs({
        mainClass: 'org.apache.zookeeper.server.ZooKeeperServerMain',
        classPath: [`${installed('zookeeper')}/lib/*`],
        properties: { 'zookeeper.admin.enableServer': false },
        args: ['zoo.cfg'],
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
