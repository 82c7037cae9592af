import { App, keyValues } from '#test/servers/app.js';
import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { serverFolder } from '#test/servers/process.js';

/** The interface that providers export and consumers call. */
export const GREETER = 'pontoon.Greeter';

/** What provider and consumer have in common. */
export interface DubboOptions {
  /** ZooKeeper's `host:port`; without it and `nacos` a provider registers nowhere, and a consumer needs a `url`. */
  readonly zookeeper?: string;
  /** Nacos's `host:port`, with `?namespace=` and `&group=` where those are not its defaults. */
  readonly nacos?: string;
  readonly protocol?: 'dubbo' | 'tri';
  readonly group?: string;
  readonly version?: string;
  /** Dubbo's application name. */
  readonly application?: string;
}

/** Options of {@link startDubboProvider}. */
export interface DubboProviderOptions extends DubboOptions {
  /** Who answers, as it stands in the answers; the application's name if not given. */
  readonly name?: string;
  readonly port?: number;
  /** Which registrations are written: for the interface, for the application's instance, or both; `all` if not given. */
  readonly mode?: 'interface' | 'instance' | 'all';
  /** 0 to any; Dubbo's own default, 100, if not given. */
  readonly weight?: number;
  /** ms in which it takes on its weight; 0 if not given, where Dubbo would take ten minutes. */
  readonly warmup?: number;
  /** Where an instance's metadata is: at the provider, or in ZooKeeper; `local` if not given. */
  readonly metadata?: 'local' | 'remote';
}

/** Options of {@link startDubboConsumer}. */
export interface DubboConsumerOptions extends DubboOptions {
  /** Calls this address, for example `dubbo://127.0.0.1:20880`, instead of what the registry says. */
  readonly url?: string;
}

abstract class Dubbo extends App {
  constructor(kind: 'provider' | 'consumer', options: Readonly<Record<string, string | number | undefined>>) {
    const install = installed('dubbo');
    const folder = serverFolder('dubbo');
    super({
      name: `Dubbo ${kind}`,
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.DubboApp',
        classPath: [install, `${install}/classes`, `${install}/lib/*`],
        // Dubbo keeps files in the user's home, and waits ten seconds for calls after it has unregistered.
        properties: { 'user.home': folder, 'dubbo.service.shutdown.wait': 1000 },
        opens: ['java.lang', 'java.math', 'java.util'],
        args: [kind, ...keyValues(options)],
      }),
      folder,
      ready: () => this.readyLine() !== undefined,
    });
  }
}

/**
 * A real Dubbo 3.3 application that provides {@link GREETER}. It unregisters on `stop()`; after
 * `kill()` its ephemeral nodes go when ZooKeeper's session times out, up to ten seconds later.
 */
export class DubboProvider extends Dubbo {
  readonly port: number;

  constructor(port: number, { zookeeper, nacos, name, ...options }: DubboProviderOptions, metadataPort: number) {
    const { application = 'greet-provider', protocol = 'dubbo', mode = 'all', metadata = 'local' } = options;
    super('provider', {
      warmup: 0,
      ...options,
      ...{ port, metadataPort, application, protocol, mode, metadata },
      name: name ?? application,
      registry: registryUrl(zookeeper, nacos),
    });
    this.port = port;
  }

  /** Where it listens and what it registers, `ip:port`: Dubbo takes the machine's own address, never a loopback one. */
  get address(): string {
    return this.readyLine() ?? '';
  }
}

/** A real Dubbo 3.3 consumer of {@link GREETER}. */
export class DubboConsumer extends Dubbo {
  constructor({ zookeeper, nacos, ...options }: DubboConsumerOptions) {
    const { application = 'greet-consumer', protocol = 'dubbo' } = options;
    super('consumer', { ...options, application, protocol, registry: registryUrl(zookeeper, nacos) });
  }

  /**
   * Calls `hello(name)` once: `hello NAME from PROVIDER`.
   *
   * @throws Error with Dubbo's message when the call fails, which takes 3 seconds at most
   */
  call(name: string): Promise<string> {
    return this.ask(name);
  }
}

function registryUrl(zookeeper: string | undefined, nacos: string | undefined): string | undefined {
  return zookeeper === undefined ? nacos && `nacos://${nacos}` : `zookeeper://${zookeeper}`;
}

/** Starts a provider and waits until it has registered. */
export async function startDubboProvider(options: DubboProviderOptions = {}): Promise<DubboProvider> {
  return new DubboProvider(options.port ?? (await freePort()), options, await freePort()).start();
}

/** Starts a consumer, which can be asked to call again and again. */
export function startDubboConsumer(options: DubboConsumerOptions): Promise<DubboConsumer> {
  return new DubboConsumer(options).start();
}

/** Starts a consumer, calls `hello(name)` once and ends it: see {@link DubboConsumer.call}. */
export async function callDubbo(options: DubboConsumerOptions, name: string): Promise<string> {
  const consumer = await startDubboConsumer(options);
  try {
    return await consumer.call(name);
  } finally {
    await consumer.stop();
  }
}
