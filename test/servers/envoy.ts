import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import { freePort } from '#test/servers/ports.js';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

/** Envoy's bootstrap configuration as JSON, without `admin`, which the module adds. */
export type EnvoyBootstrap = Readonly<Record<string, unknown>>;

/** A stock Envoy proxy with its admin pages on loopback. */
export class Envoy extends Server {
  /** The base of the admin pages: `http://127.0.0.1:port`. */
  readonly adminUrl: string;

  constructor(adminPort: number, bootstrap: EnvoyBootstrap) {
    const folder = serverFolder('envoy');
    const adminUrl = `http://127.0.0.1:${adminPort}`;
    const admin = { address: { socket_address: { address: '127.0.0.1', port_value: adminPort } } };
    writeFileSync(join(folder, 'bootstrap.json'), JSON.stringify({ ...bootstrap, admin }));
    super({
      name: 'Envoy',
      command: join(installed('envoy'), 'envoy'),
      args: ['-c', 'bootstrap.json', '--concurrency', '1', '--disable-hot-restart', '-l', 'warning'],
      folder,
      ready: () => httpOk(`${adminUrl}/ready`),
    });
    this.adminUrl = adminUrl;
  }

  /**
   * The text of an admin page such as `/clusters?format=json`, `/config_dump` or `/stats`.
   *
   * @throws Error when the answer is not 200
   */
  async admin(path: string): Promise<string> {
    const response = await fetch(`${this.adminUrl}${path}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`Envoy's ${path} answered ${response.status}: ${text}`);
    return text;
  }
}

/** Starts Envoy and waits until it is live: its listeners are up, and what it waits for over xDS is there. */
export async function startEnvoy(bootstrap: EnvoyBootstrap): Promise<Envoy> {
  return new Envoy(await freePort(), bootstrap).start();
}
