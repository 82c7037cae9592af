import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** Options of {@link startEureka}. */
export interface EurekaOptions {
  readonly port?: number;
  /** Settings over the fast ones, such as `eureka.server.enable-self-preservation`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
}

// The server's own defaults show a registration only after seconds and a removal after half a minute.
const FAST_SETTINGS = {
  'eureka.server.use-read-only-response-cache': false,
  'eureka.server.response-cache-update-interval-ms': 500,
  'eureka.server.enable-self-preservation': false,
  'eureka.server.eviction-interval-timer-in-ms': 1000,
  'eureka.server.wait-time-in-ms-when-sync-empty': 0,
  'eureka.server.delta-retention-timer-interval-in-ms': 5000,
  'eureka.client.register-with-eureka': false,
  'eureka.client.fetch-registry': false,
};

/** A Eureka server (Spring Cloud Netflix) on loopback. It keeps nothing over a restart. */
export class Eureka extends Server {
  readonly port: number;

  constructor(port: number, { settings = {} }: EurekaOptions) {
    const install = installed('eureka');
    const all = { 'server.address': '127.0.0.1', 'server.port': port, ...FAST_SETTINGS, ...settings };
    super({
      name: 'Eureka',
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.EurekaServer',
        classPath: [`${install}/classes`, `${install}/lib/*`],
        args: Object.entries(all).map(([key, value]) => `--${key}=${value}`),
      }),
      folder: serverFolder('eureka'),
      ready: () => httpOk(`http://127.0.0.1:${port}/eureka/apps`),
    });
    this.port = port;
  }

  /** The address that clients are given, without a slash at the end: `http://127.0.0.1:port/eureka`. */
  get url(): string {
    return `http://127.0.0.1:${this.port}/eureka`;
  }
}

/** Starts a Eureka server, with fast settings, and waits until it answers. */
export async function startEureka(options: EurekaOptions = {}): Promise<Eureka> {
  return new Eureka(options.port ?? (await freePort()), options).start();
}
