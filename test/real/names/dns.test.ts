import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { parseConfig } from '#config/load.js';
import { type Coredns, startCoredns } from '#test/servers/coredns.js';
import { freePort } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { type Pontoon, startPontoon } from '../../../src/main.js';
import { Mesh, temporaryDirectory } from './mesh.js';

/** Public ones, too: they are in the hosts file alone. */
const hosts = ['orders.eureka', 'pay.eureka', 'greeter.v1.dubbo', 'api.example.com', 'bare'];

describe('zone and hosts files', function () {
  this.timeout(60_000);
  let mesh: Mesh;
  const servers: Coredns[] = [];

  const start = async (plugin: string): Promise<Coredns> => {
    const server = await startCoredns(`. {\n  bind 127.0.0.1\n  errors\n  ${plugin}\n}\n`);
    servers.push(server);
    return server;
  };
  const path = (name: string): string => join(mesh.directory, 'dns', name);

  before(async function () {
    await requireServers(this, 'coredns');
    mesh = new Mesh(temporaryDirectory(), () => true, ['241.0.0.0/8', 'fd00::/64']);
    for (const host of hosts) mesh.set(host, ['10.0.0.1:8080']);
    mesh.sink.ready();
    await until('the files', () => mesh.sink.status().files === hosts.length + 3);
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await mesh?.close();
  });

  /** Every host by its virtual addresses; a new one after the next reading; one that is gone no more. */
  async function resolves(server: Coredns, known: readonly string[], fresh: string): Promise<void> {
    for (const host of known) {
      const [v4, v6] = mesh.vips(host);
      expect(v4).to.match(/^241\./);
      expect(await server.addresses(host), host).to.deep.equal([v4]);
      expect(await server.addresses(host, 6), host).to.deep.equal([v6]);
    }
    expect(await server.addresses(fresh)).to.deep.equal([]);
    mesh.set(fresh, ['10.0.0.2:8080']);
    await until(
      `${fresh} resolves`,
      async () => (await server.addresses(fresh)).join() === mesh.vips(fresh)[0],
      20_000,
    );
    mesh.remove(fresh);
    await until(`${fresh} is gone`, async () => (await server.addresses(fresh)).length === 0, 20_000);
    expect(await server.addresses(known[0] ?? '')).to.have.length(1);
  }

  it('a real CoreDNS answers from the hosts file for every host', async () => {
    await resolves(await start(`hosts ${path('hosts')} {\n reload 500ms\n ttl 30\n }`), hosts, 'new.eureka');
  });

  it('and from the zones, which `auto` finds: none for suffixes that others have', async () => {
    const server = await start(`auto {\n directory ${path('')}\n reload 500ms\n }`);
    const inZones = hosts.filter((host) => /\.(eureka|dubbo)$/.test(host));
    await resolves(server, inZones, 'newer.eureka');
    expect(await server.addresses('api.example.com')).to.deep.equal([]);
    const records = await server.resolver.resolve4('orders.eureka', { ttl: true });
    expect(records.map(({ ttl }) => ttl)).to.deep.equal([30]);
  });

  it('and from one zone by `file`', async () => {
    const server = await start(`file ${path('db.eureka')} eureka {\n reload 500ms\n }`);
    await resolves(server, ['orders.eureka', 'pay.eureka'], 'newest.eureka');
  });

  it('the Corefile of deploy/ answers for hosts of both kinds', async () => {
    const corefile = readFileSync('deploy/Corefile', 'utf8')
      .replaceAll('/var/lib/pontoon/istio/dns', path(''))
      .replace(/^ *forward .*$/m, '')
      .replaceAll('    errors', '    errors\n    bind 127.0.0.1');
    const server = await startCoredns(corefile);
    servers.push(server);
    for (const host of hosts) expect(await server.addresses(host), host).to.deep.equal([mesh.vips(host)[0]]);
    // What is not in a zone of ours is nowhere: nobody else is asked.
    expect(await server.addresses('nobody.eureka')).to.deep.equal([]);
  });

  it('a serial says what the zone holds: the same in another replica, in whatever order it came', async () => {
    const other = new Mesh(temporaryDirectory(), () => true, ['241.0.0.0/8', 'fd00::/64']);
    for (const host of [...hosts].reverse()) other.set(host, ['10.7.7.7:8080']);
    expect(other.names.files()).to.deep.equal(mesh.names.files());
    const before = other.names.zones();
    other.set('orders.eureka', ['10.7.7.8:8080']);
    expect(other.names.zones(), 'an endpoint is no name').to.equal(before);
    other.set('more.eureka', ['10.7.7.8:8080']);
    const serials = (zones: typeof before) => zones.map(({ origin, serial }) => `${origin} ${serial}`);
    expect(serials(other.names.zones())[0]).to.equal(serials(before)[0]);
    expect(serials(other.names.zones())[1]).not.to.equal(serials(before)[1]);
    other.remove('more.eureka');
    await until('the serials of before', () => serials(other.names.zones()).join() === serials(before).join());
    await other.close();
  });
});

describe('zone and hosts files over HTTP', () => {
  let pontoon: Pontoon;
  const get = (path: string, etag?: string) =>
    fetch(`${pontoon.adminUrl}/api/v1/dns/${path}`, etag === undefined ? {} : { headers: { 'if-none-match': etag } });

  before(async () => {
    const config = parseConfig(
      `
registries: [{ name: local, type: file, path: config/services.yaml }]
istio: { xds: [{ listen: "127.0.0.1:${await freePort()}" }], dns: { ttl: 5s, zones: [example, eureka] } }
admin: { listen: "127.0.0.1:${await freePort()}" }
`,
      'p.yaml',
    );
    pontoon = await startPontoon(config, pino({ level: 'silent' }));
    await until('the names', async () => (await get('hosts')).ok);
  });
  after(() => pontoon.stop());

  it('are there once all is known, each with an ETag', async () => {
    const response = await get('hosts');
    expect(await response.text()).to.match(/^# Written.*\n241?[\d.]+ hello\.example\n2[\d.]+ ledger\.example\n$/);
    const etag = response.headers.get('etag') ?? '';
    expect((await get('hosts', etag)).status).to.equal(304);
    expect((await get('hosts', `"other", W/${etag}`)).status).to.equal(304);
    expect((await get('hosts', '"other"')).status).to.equal(200);
  });

  it('zones are listed and read by origin', async () => {
    const [zone, ...others] = (await (await get('zones')).json()) as {
      origin: string;
      hosts: number;
      serial: number;
    }[];
    expect(others).to.deep.equal([]);
    expect(zone).to.include({ origin: 'example', hosts: 2 });
    const text = await (await get('zones/example.')).text();
    expect(text).to.contain(`$ORIGIN example.\n$TTL 5\n@ IN SOA `).and.contain(` ${zone?.serial} `);
    expect(text).to.match(/\nhello IN A 2/);
    expect((await get('zones/com')).status).to.equal(404);
  });
});
