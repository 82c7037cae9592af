import type { InstancePort } from '#model/service.js';
import { Turn } from '#sources/turn.js';
import type { EurekaLease } from './decode.js';
import type { Application, Leases } from './leases.js';

/** How clients look services up, and so what a service is. */
export interface Lookup {
  /** Names of the services that a lease belongs to. */
  names(application: string, lease: EurekaLease): Iterable<string>;
  /** The leases by service. What has not changed stays the same object. */
  services(leases: Leases): Promise<Leases>;
}

/** A service is an application. */
export const byApplication: Lookup = {
  names: (application) => [application],
  services: async (leases) => leases,
};

/**
 * A service is a virtual host name, as Ribbon and Spring Cloud's discovery client look it up: an instance may have several, and those of several
 * applications may have the same. Names are compared in lower case. An instance without one counts under its application's name.
 */
export class VipLookup implements Lookup {
  readonly #known = new WeakMap<Application, Leases>();

  names(application: string, lease: EurekaLease): Iterable<string> {
    return portsByVip(application, lease).keys();
  }

  async services(leases: Leases): Promise<Leases> {
    const services = new Map<string, Application>();
    const turn = new Turn();
    for (const [name, application] of leases) {
      const known = this.#known.get(application) ?? byVip(name, application);
      this.#known.set(application, known);
      for (const [vip, members] of known) {
        const others = services.get(vip);
        services.set(vip, others === undefined ? members : new Map([...others, ...members]));
      }
      if (turn.isLong) await turn.next();
    }
    return services;
  }
}

function byVip(name: string, application: Application): Leases {
  const vips = new Map<string, Map<string, EurekaLease>>();
  for (const [id, lease] of application)
    for (const [vip, ports] of portsByVip(name, lease)) {
      const members = vips.get(vip) ?? new Map<string, EurekaLease>();
      vips.set(vip, members.set(`${name}/${id}`, withPorts(lease, ports)));
    }
  return vips;
}

/** A VIP's ports are the plain ones, a secure VIP's the secure ones; a VIP of an instance without a plain port has the secure ones, as for Spring's clients. */
function portsByVip(application: string, { names, content }: EurekaLease): Map<string, readonly InstancePort[]> {
  const all = typeof content === 'string' ? [] : content.ports;
  const plain = all.filter(({ protocol }) => protocol === 'http');
  const secure = all.filter(({ protocol }) => protocol === 'https');
  const found = new Map<string, readonly InstancePort[]>();
  for (const vip of vipsOf(names.vipAddress)) found.set(vip, plain.length > 0 ? plain : all);
  for (const vip of vipsOf(names.secureVipAddress))
    if (secure.length > 0 || all.length === 0) found.set(vip, [...new Set([...(found.get(vip) ?? []), ...secure])]);
  return found.size > 0 ? found : new Map([[application.toLowerCase(), all]]);
}

function vipsOf(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
}

function withPorts(lease: EurekaLease, ports: readonly InstancePort[]): EurekaLease {
  const { content } = lease;
  return typeof content === 'string' || content.ports.length === ports.length
    ? lease
    : { ...lease, content: { ...content, ports } };
}
