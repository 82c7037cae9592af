import { Resolver } from 'node:dns/promises';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from './cache.js';
import { freePort } from './ports.js';
import { Server, serverFolder } from './process.js';

/** CoreDNS on loopback, with the plugins auto, bind, errors, file, hosts and reload. */
export class Coredns extends Server {
  /** Asks this server alone. */
  readonly resolver: Resolver;

  constructor(port: number, corefile: string) {
    const folder = serverFolder('coredns');
    writeFileSync(join(folder, 'Corefile'), corefile);
    const resolver = new Resolver({ timeout: 1_000, tries: 2 });
    resolver.setServers([`127.0.0.1:${port}`]);
    super({
      name: 'CoreDNS',
      command: join(installed('coredns'), 'coredns'),
      args: ['-conf', 'Corefile', '-dns.port', String(port)],
      folder,
      ready: () => isAnswering(resolver),
    });
    this.resolver = resolver;
  }

  /** The IPv4 or IPv6 addresses of a name; none if there is no such name. */
  async addresses(name: string, family: 4 | 6 = 4): Promise<string[]> {
    try {
      return family === 4 ? await this.resolver.resolve4(name) : await this.resolver.resolve6(name);
    } catch {
      return [];
    }
  }
}

/** Any answer will do, also that there is no such name. */
async function isAnswering(resolver: Resolver): Promise<boolean> {
  try {
    await resolver.resolve4('ready.invalid');
    return true;
  } catch (error) {
    return !['ECONNREFUSED', 'ETIMEOUT'].includes((error as NodeJS.ErrnoException).code ?? '');
  }
}

/** Starts CoreDNS on a free port. Server blocks of the Corefile name no port, and bind 127.0.0.1. */
export async function startCoredns(corefile: string): Promise<Coredns> {
  return new Coredns(await freePort(), corefile).start();
}
