import { App } from '#test/servers/app.js';
import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { serverFolder } from '#test/servers/process.js';

/** Options of {@link startSpringCloudZooKeeper}. */
export interface SpringCloudZooKeeperOptions {
  /** ZooKeeper's `host:port`. */
  readonly zookeeper: string;
  /** The application's name; with slashes its znode lies as deep. */
  readonly app: string;
  readonly port?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Settings over the module's own, such as `spring.cloud.zookeeper.discovery.root`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
}

/** A real Spring Cloud application on loopback, registered in ZooKeeper. It unregisters on `stop()`, and not on `kill()`. */
export class SpringCloudZooKeeper extends App {
  readonly port: number;

  constructor(port: number, { zookeeper, app, metadata = {}, settings = {} }: SpringCloudZooKeeperOptions) {
    const install = installed('springcloud-zookeeper');
    const discovery = 'spring.cloud.zookeeper.discovery';
    const all = {
      'server.address': '127.0.0.1',
      'server.port': port,
      'spring.application.name': app,
      'spring.cloud.zookeeper.connect-string': zookeeper,
      [`${discovery}.instance-host`]: '127.0.0.1',
      ...Object.fromEntries(Object.entries(metadata).map(([key, value]) => [`${discovery}.metadata[${key}]`, value])),
      ...settings,
    };
    super({
      name: `Spring Cloud ${app}`,
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.ZooKeeperApp',
        classPath: [`${install}/classes`, `${install}/lib/*`],
        args: Object.entries(all).map(([key, value]) => `--${key}=${value}`),
      }),
      folder: serverFolder('springcloud-zookeeper'),
      ready: () => this.readyLine() !== undefined,
    });
    this.port = port;
  }

  /** Sets the registration's status, such as `OUT_OF_SERVICE`. */
  async setStatus(status: string): Promise<void> {
    await this.ask(status);
  }
}

/** Starts a Spring Cloud application and waits until it has registered. */
export async function startSpringCloudZooKeeper(options: SpringCloudZooKeeperOptions): Promise<SpringCloudZooKeeper> {
  return new SpringCloudZooKeeper(options.port ?? (await freePort()), options).start();
}
