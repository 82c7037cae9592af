import { installed } from '#test/servers/cache.js';
import { javaArgs } from '#test/servers/java.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** Options of {@link startSpringCloud}. */
export interface SpringCloudOptions {
  /** Eureka's address as {@link Eureka.url} gives it. */
  readonly eurekaUrl: string;
  /** The application's name in Eureka, in any case. */
  readonly app: string;
  readonly port?: number;
  /** `127.0.0.1:app:port` if not given. */
  readonly instanceId?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Settings over the module's own, such as `eureka.instance.lease-renewal-interval-in-seconds`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
}

/**
 * A real Spring Cloud application on loopback, registered in Eureka with a heartbeat each second
 * and a lease of three. It unregisters on `stop()`, and not on `kill()`.
 */
export class SpringCloud extends Server {
  readonly port: number;
  readonly app: string;
  readonly instanceId: string;

  constructor(port: number, { eurekaUrl, app, metadata = {}, settings = {}, ...options }: SpringCloudOptions) {
    const install = installed('springcloud');
    const instanceId = options.instanceId ?? `127.0.0.1:${app}:${port}`;
    const all = {
      'server.address': '127.0.0.1',
      'server.port': port,
      'spring.application.name': app,
      'eureka.client.service-url.defaultZone': `${eurekaUrl}/`,
      'eureka.client.initial-instance-info-replication-interval-seconds': 0,
      'eureka.client.instance-info-replication-interval-seconds': 1,
      'eureka.client.registry-fetch-interval-seconds': 1,
      'eureka.instance.instance-id': instanceId,
      'eureka.instance.prefer-ip-address': true,
      'eureka.instance.ip-address': '127.0.0.1',
      'eureka.instance.lease-renewal-interval-in-seconds': 1,
      'eureka.instance.lease-expiration-duration-in-seconds': 3,
      ...Object.fromEntries(Object.entries(metadata).map(([k, v]) => [`eureka.instance.metadata-map[${k}]`, v])),
      ...settings,
    };
    super({
      name: `Spring Cloud ${app}`,
      command: 'java',
      args: javaArgs({
        mainClass: 'pontoon.HelloApp',
        classPath: [`${install}/classes`, `${install}/lib/*`],
        args: Object.entries(all).map(([key, value]) => `--${key}=${value}`),
      }),
      folder: serverFolder('springcloud'),
      ready: async () =>
        (await httpOk(`http://127.0.0.1:${port}/hello`)) &&
        (await httpOk(`${eurekaUrl}/apps/${app.toUpperCase()}/${instanceId}`)),
    });
    this.port = port;
    this.app = app;
    this.instanceId = instanceId;
  }

  /** The application's address; `/hello` there answers `app port`. */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
}

/** Starts a Spring Cloud application and waits until it answers and Eureka has its registration. */
export async function startSpringCloud(options: SpringCloudOptions): Promise<SpringCloud> {
  return new SpringCloud(options.port ?? (await freePort()), options).start();
}
