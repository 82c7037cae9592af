import { App, keyValues } from '#test/servers/app.js';
import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { serverFolder } from '#test/servers/process.js';

/** Options of {@link startNacosClient}. */
export interface NacosClientOptions {
  /** The server's `host:port` as {@link Nacos.address} gives it. */
  readonly address: string;
  readonly service: string;
  readonly port: number;
  /** 127.0.0.1 if not given. */
  readonly ip?: string;
  /** The namespace's id; the public one if not given. */
  readonly namespace?: string;
  readonly group?: string;
  readonly cluster?: string;
  /** 0 and more; 1 if not given. */
  readonly weight?: number;
  /** An ephemeral instance goes with its client; true if not given. */
  readonly ephemeral?: boolean;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly auth?: { readonly user: string; readonly password: string };
  /** The client's own settings, such as `accessKey`. */
  readonly properties?: Readonly<Record<string, string>>;
}

/** A real Java Nacos client (2.5, gRPC) that keeps one instance registered until it is deregistered or ends. */
export class NacosClient extends App {
  constructor(options: NacosClientOptions) {
    const install = installed('nacos-client');
    const folder = serverFolder('nacos-client');
    const metadata = Object.entries(options.metadata ?? {}).map(([key, value]) => [`metadata.${key}`, value]);
    super({
      name: 'Nacos client',
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.NacosApp',
        classPath: [install, `${install}/classes`, `${install}/lib/*`],
        // The client keeps a cache and logs in the user's home.
        properties: { 'user.home': folder },
        args: keyValues({
          ...options.properties,
          serverAddr: options.address,
          namespace: options.namespace,
          username: options.auth?.user,
          password: options.auth?.password,
          service: options.service,
          ip: options.ip ?? '127.0.0.1',
          port: options.port,
          group: options.group ?? 'DEFAULT_GROUP',
          cluster: options.cluster ?? 'DEFAULT',
          weight: options.weight ?? 1,
          ephemeral: options.ephemeral ?? true,
          ...Object.fromEntries(metadata),
        }),
      }),
      folder,
      ready: () => this.readyLine() !== undefined,
    });
  }

  /** Registers the instance again with this weight. */
  async setWeight(weight: number): Promise<void> {
    await this.ask(`weight ${weight}`);
  }

  /** Registers the instance again as taking calls or not. */
  async setEnabled(enabled: boolean): Promise<void> {
    await this.ask(`enabled ${enabled}`);
  }

  /** Registers the instance again as healthy or not. */
  async setHealthy(healthy: boolean): Promise<void> {
    await this.ask(`healthy ${healthy}`);
  }

  /** Registers the instance again with one metadata entry more or other. */
  async setMetadata(key: string, value: string): Promise<void> {
    await this.ask(`metadata ${key}=${value}`);
  }

  /**
   * Subscribes to a service of the client's group, and calls back with `metadata.mark` of its first instance as it is and whenever it changes.
   * @returns how to stop calling back
   */
  async watch(service: string, seen: (mark: string | undefined) => void): Promise<() => void> {
    await this.ask(`watch ${service}`);
    let told = 0;
    const tell = () => {
      const marks = [...this.log().matchAll(/^@mark (\S+) ?(.*)\n/gm)].filter(([, of]) => of === service);
      for (const [, , mark] of marks.slice(told)) seen(mark);
      told = marks.length;
    };
    const timer = setInterval(tell, 5);
    return () => clearInterval(timer);
  }

  /** Asks for a configuration of the client's group. */
  async config(dataId: string): Promise<string> {
    return await this.ask(`config ${dataId}`);
  }

  /** What a caller finds under a service of the client's group: its healthy instances, in order, each as `IP:PORT@CLUSTER WEIGHT KEY=VALUE...`. */
  async select(service: string): Promise<string[]> {
    const answer = await this.ask(`select ${service}`);
    return answer === '' ? [] : answer.split(' | ').sort();
  }

  /** Takes the instance out; the client stays. */
  async deregister(): Promise<void> {
    await this.ask('deregister');
  }

  /** Registers the instance, as it was last, again. */
  async register(): Promise<void> {
    await this.ask('register');
  }
}

/** Starts a Nacos client and waits until its instance is registered. */
export function startNacosClient(options: NacosClientOptions): Promise<NacosClient> {
  return new NacosClient(options).start();
}
