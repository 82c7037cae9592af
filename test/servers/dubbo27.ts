import { App, keyValues } from '#test/servers/app.js';
import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { serverFolder } from '#test/servers/process.js';

/** Options of {@link startDubbo27}. */
export interface Dubbo27Options {
  /** ZooKeeper's `host:port`. */
  readonly zookeeper: string;
  /** Protocols with commas, each on a port of its own; `dubbo` if not given. */
  readonly protocols?: string;
  readonly group?: string;
  readonly version?: string;
  readonly weight?: number;
  readonly application?: string;
  /** The registry's group: the znode that everything lies below; `dubbo` if not given. */
  readonly root?: string;
  /** `provider` if not given. */
  readonly kind?: 'provider' | 'consumer';
}

/** A real Dubbo 2.7 application that provides `pontoon.Greeter`, registered by interface, or calls it. */
export class Dubbo27 extends App {
  readonly port: number;

  constructor(port: number, { zookeeper, ...options }: Dubbo27Options) {
    const install = installed('dubbo27');
    const folder = serverFolder('dubbo27');
    const { protocols = 'dubbo', application = 'greet-27' } = options;
    super({
      name: `Dubbo 2.7 ${options.kind ?? 'provider'}`,
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.Dubbo27App',
        classPath: [install, `${install}/classes`, `${install}/lib/*`],
        properties: { 'user.home': folder, 'dubbo.service.shutdown.wait': 1000 },
        opens: ['java.lang', 'java.math', 'java.util'],
        args: keyValues({ ...options, protocols, application, port, registry: `zookeeper://${zookeeper}` }),
      }),
      folder,
      ready: () => this.readyLine() !== undefined,
    });
    this.port = port;
  }

  /** Where it listens and what it registers, `ip:port`, for the first protocol. */
  get address(): string {
    return this.readyLine() ?? '';
  }

  /** A consumer calls `hello(name)` once. @throws Error with Dubbo's message when the call fails */
  call(name: string): Promise<string> {
    return this.ask(name);
  }
}

/** Starts a provider, and waits until it has registered; or a consumer. */
export async function startDubbo27(options: Dubbo27Options): Promise<Dubbo27> {
  return new Dubbo27(await freePort(), options).start();
}
