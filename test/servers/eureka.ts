import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** Options of {@link startEureka}. */
export interface EurekaOptions {
  readonly port?: number;
  /** The heap's upper bound in MiB; 384 if not given. */
  readonly heapMiB?: number;
  /** Settings over the fast ones, such as `eureka.server.enable-self-preservation`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Basic auth that every request needs; none unless given. */
  readonly auth?: { readonly username: string; readonly password: string };
  /** PEM files for https; http unless given. With `clientCa`, clients need a certificate of that authority. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
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
  /** The address that clients are given, without a slash at the end: `http://127.0.0.1:port/eureka`. */
  readonly url: string;

  constructor(port: number, { settings = {}, auth, tls, heapMiB }: EurekaOptions) {
    const install = installed('eureka');
    const all = {
      'server.address': '127.0.0.1',
      'server.port': port,
      ...FAST_SETTINGS,
      ...authSettings(auth),
      ...tlsSettings(tls),
      ...settings,
    };
    super({
      name: 'Eureka',
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.EurekaServer',
        classPath: [`${install}/classes`, `${install}/lib/*`],
        args: Object.entries(all).map(([key, value]) => `--${key}=${value}`),
        ...(heapMiB === undefined ? {} : { heapMiB }),
      }),
      folder: serverFolder('eureka'),
      ready: (server) =>
        auth === undefined && tls === undefined
          ? httpOk(`http://127.0.0.1:${port}/eureka/apps`)
          : server.log().includes('Started EurekaServer in'),
    });
    this.port = port;
    this.url = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/eureka`;
  }
}

function authSettings(auth: EurekaOptions['auth']) {
  if (auth === undefined) return {};
  return { 'spring.security.user.name': auth.username, 'spring.security.user.password': `{noop}${auth.password}` };
}

function tlsSettings(tls: EurekaOptions['tls']) {
  if (tls === undefined) return {};
  return {
    'server.ssl.certificate': `file:${tls.cert}`,
    'server.ssl.certificate-private-key': `file:${tls.key}`,
    ...(tls.clientCa === undefined
      ? {}
      : { 'server.ssl.trust-certificate': `file:${tls.clientCa}`, 'server.ssl.client-auth': 'need' }),
  };
}

/** Starts a Eureka server, with fast settings, and waits until it answers. */
export async function startEureka(options: EurekaOptions = {}): Promise<Eureka> {
  return new Eureka(options.port ?? (await freePort()), options).start();
}
