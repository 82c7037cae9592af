import { expect } from 'chai';
import { pino } from 'pino';
import { Catalog } from '#catalog/catalog.js';
import { VipAllocator } from '#catalog/vip.js';
import { Projection } from '#istio/projection.js';
import { RegistryPolicy } from '#policy/contribution.js';
import { XdsListener } from '#sinks/xds/server.js';
import { cause } from '#sources/contract.js';
import { Sidecar } from '#test/e2e/sidecar.js';
import { type Istiod, startIstiod } from '#test/servers/istiod.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { instance, plainKinds, service } from '#test/unit/builders.js';
import { contracts, OlderIstiod } from './contract.js';

/** Any istiod, of whichever release. */
interface Client {
  readonly hosts: () => Promise<string[]>;
  /** Waits until the endpoints of the host are these at a proxy; for older ones: until it has pushed them. */
  readonly pushed: (host: string, addresses: readonly string[]) => Promise<void>;
  readonly stop: () => Promise<unknown>;
}

describe('old and new istiods', function () {
  this.timeout(60_000);
  before(async function () {
    await requireServers(this, 'istiod');
  });

  async function world() {
    const catalog = new Catalog({ namespace: 'pontoon', exportTo: ['*'], grace: 0 }, new VipAllocator([]));
    const view = catalog.add(new RegistryPolicy({ name: 'r', type: 'test', kinds: plainKinds }));
    const log = pino({ level: 'silent' });
    const listener = new XdsListener(new Projection(catalog), { host: '127.0.0.1', port: 0, log });
    view.update(
      [service('one', [instance('10.0.0.1', 8001)]), service('two', [instance('10.0.0.2', 80)])],
      [],
      cause('test'),
    );
    await listener.open();
    return { view, listener, address: listener.addresses[0] ?? '' };
  }

  async function real(address: string): Promise<Client> {
    const istiod: Istiod = await startIstiod({ configSources: [`xds://${address}`] });
    const sidecar = new Sidecar(istiod.xdsAddress);
    return {
      hosts: async () => {
        const all = (await istiod.configz()) as { kind?: string; spec?: { hosts?: string[] } }[];
        return all.flatMap(({ kind, spec }) => (kind === 'ServiceEntry' ? (spec?.hosts ?? []) : [])).sort();
      },
      pushed: async (host, addresses) => void (await sidecar.has(host, 80, addresses)),
      stop: async () => {
        sidecar.close();
        await istiod.stop();
      },
    };
  }

  function older(address: string, contract: (typeof contracts)[number]): Client & { readonly istiod: OlderIstiod } {
    const istiod = new OlderIstiod(address, contract);
    return {
      istiod,
      hosts: async () => istiod.hosts,
      pushed: (host) => until(`${host} is pushed`, () => istiod.pushed.splice(0).includes(host), 10_000),
      stop: async () => istiod.close(),
    };
  }

  for (const contract of [...contracts, undefined])
    it(`${contract?.version ?? '1.31, the real one'}: has the set, its changes, and endpoints of one address`, async () => {
      const { view, listener, address } = await world();
      const old = contract === undefined ? undefined : older(address, contract);
      if (old !== undefined) {
        await until('the types that there are none of', () => old.istiod.responses > 3);
        expect(old.istiod.isReady, 'before the set is complete').to.equal(false);
      }
      listener.ready();
      const client: Client = old ?? (await real(address));
      const changes = (...instances: ReturnType<typeof instance>[]) =>
        view.update([service('one', instances)], [], cause('test'));
      try {
        await until('the set', async () => (await client.hosts()).join() === 'one.test,two.test');
        const [state] = listener.clients();
        expect(state?.protocol).to.equal('sotw');
        const isOld = contract?.group === 'v1alpha3';
        const isNew = contract === undefined;
        expect(state?.version).to.equal(isOld ? 'before 1.24' : isNew ? '1.30 or later' : '1.24 or later');
        expect(state?.workarounds).to.deep.equal([
          ...(isOld ? ['v1alpha3 type URL'] : []),
          'time-stamp nonces',
          ...(isNew ? [] : ['same-address label', 'name in one source only']),
        ]);

        changes(instance('10.0.0.1', 8001), instance('10.0.0.3', 8001));
        await client.pushed('one.test', ['10.0.0.1:8001', '10.0.0.3:8001']);
        // Another endpoint of an address that is there; then the first of the two goes, which older ones cannot see but for the label.
        changes(instance('10.0.0.1', 8001), instance('10.0.0.1', 8002));
        await client.pushed('one.test', ['10.0.0.1:8001', '10.0.0.1:8002']);
        changes(instance('10.0.0.1', 8002));
        if (contract?.endpoints === 'come and go') {
          await until('the change', () => old?.istiod.changes.at(-1) !== undefined);
          await until('an answer to it', () => (listener.clients()[0]?.subscriptions ?? []).every(isAnswered));
          expect(old?.istiod.pushed, 'no release before 1.21 pushes what is only another endpoint').to.deep.equal([]);
        } else await client.pushed('one.test', ['10.0.0.1:8002']);

        view.update([], [service('two', []).key], cause('test'));
        await until('the removal', async () => (await client.hosts()).join() === 'one.test');
        await until('an answer to all', () => (listener.clients()[0]?.subscriptions ?? []).every(isAnswered));
        const { pushes } = listener.status();
        await new Promise((resolve) => setTimeout(resolve, 300));
        expect(listener.status().pushes, 'nothing is sent twice').to.equal(pushes);
        expect(listener.clients()[0]?.subscriptions.every(({ counts }) => counts.refused === 0)).to.equal(true);
      } finally {
        await client.stop();
        await listener.close();
      }
    });
});

function isAnswered({
  sent,
  acknowledged,
}: {
  sent: { version: string } | undefined;
  acknowledged: { version: string } | undefined;
}): boolean {
  return sent?.version === acknowledged?.version;
}
