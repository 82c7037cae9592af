import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { pino } from 'pino';
import { adapters } from '#adapters/index.js';
import { configSchema } from '#config/schema.js';
import type { Protocol } from '#model/protocol.js';
import { serviceId } from '#model/service.js';
import {
  difference,
  type Placed,
  type PublishedInstance,
  type PublishedService,
  type Target,
  type TargetKind,
} from '#publish/contract.js';
import { marked, markOf } from '#publish/mark.js';
import { defaultSettings } from '#publish/publication.js';
import { type Standing, standing } from '#publish/standing.js';
import type { Server } from '#test/servers/process.js';
import { requireServers } from '#test/servers/require.js';
import { Wire } from '#test/servers/wire.js';
import { Bridge } from './bridge.js';
import type { RegistryKeys } from './registry.js';

const owner = 'cloud-a';
const isFull = process.env.PONTOON_BENCH === 'full';
/** Services and instances of each that are published at once. */
const [services, instances] = isFull ? [2_000, 10] : [100, 5];
/** Services that are written at a time, as `writes.parallel` has it. */
const parallel = 16;

/** One real registry that is written to: all that the suite needs to know of it. Service names are letters and dashes. */
export interface TargetUnderTest {
  /** Names it in the output: `Consul 1.17.0, catalog`. */
  readonly title: string;
  /** The adapter's `type`. */
  readonly type: string;
  /** The recipes to install; see test/servers. */
  readonly needs: readonly string[];
  /** Starts the server, empty. */
  start(): Promise<void>;
  stop(): Promise<void>;
  server(): {
    readonly process: Pick<Server, 'kill' | 'start' | 'pause' | 'resume'>;
    readonly port: number;
    readonly offsets?: readonly number[];
  };
  /** The configuration that reads and writes the server at a port of 127.0.0.1. */
  keys(port: number): RegistryKeys;
  /** The publication's block. */
  readonly settings?: object;
  /** That of the many services, where another one suits them; `settings`, unless given. */
  readonly settingsOfMany?: object;
  readonly protocol?: Protocol;
  /** What a service's name becomes; itself, unless given. */
  name?(service: string): string;
  /** Registers an instance by the registry's own means, without a mark; it stays until it is deregistered or the server stops. */
  foreign(service: string, address: string, port: number): Promise<void>;
  /** Whether what was written is still there when the server was killed and started. */
  readonly survives: boolean;
  /** ms after which what is not renewed is gone at the latest; undefined where nothing has a lease. */
  readonly lease?: number;
  /** An instance that the registry does not take. */
  readonly untakeable?: Partial<PublishedInstance>;
  /** Weight of "as any other" and one that is lighter or heavier, as they are read back; left out where there are none. */
  readonly weights?: readonly [number, number];
}

/** What every target holds to, shown with its real server. */
export function targetContract(registry: TargetUnderTest): void {
  describe(`target: ${registry.title}`, function () {
    this.timeout(isFull ? 900_000 : 120_000);
    const kind = adapters.find(({ type }) => type === registry.type)?.target as TargetKind;
    const [nominal, other] = registry.weights ?? [kind.nominalWeight, kind.nominalWeight];
    const { signal } = new AbortController();
    setMaxListeners(0, signal);
    const open: Target[] = [];
    let wire: Wire;
    let bridge: Bridge;
    let target: Target;
    let requests = 0;

    before(async function () {
      await requireServers(this, ...registry.needs);
      await registry.start();
      const { port, offsets } = registry.server();
      wire = await Wire.open(port, offsets);
      bridge = new Bridge(registry.type, registry.keys(port));
      await bridge.until('live', () => bridge.status.state === 'live');
      target = make();
    });

    after(async () => {
      clearInterval(beat);
      for (const one of open) await one.close();
      await bridge?.stop();
      await wire?.close();
      await registry.stop();
    });

    function make(): Target {
      const { registries } = configSchema.parse({
        registries: [{ name: 'r', type: registry.type, ...registry.keys(wire.port) }],
      });
      const made = kind.target(registries[0], {
        registry: 'r',
        owner,
        directory: undefined,
        log: pino({ level: process.env.PONTOON_TEST_LOG ?? 'silent' }),
        turn: async () => {
          requests++;
        },
      });
      open.push(made);
      return made;
    }

    const at = (number: number, more: Partial<PublishedInstance> = {}): PublishedInstance => ({
      address: `10.1.3.${number}`,
      port: 8000 + number,
      isUp: true,
      weight: nominal,
      locality: undefined,
      ...more,
      metadata: { ...more.metadata, ...marked({ owner, run: 'one', publication: 'p', host: 'h.mesh' }) },
    });

    const service = (name: string, ...wanted: PublishedInstance[]): PublishedService =>
      withSettings(registry.settings, name, wanted);

    function withSettings(said: object | undefined, name: string, wanted: PublishedInstance[]): PublishedService {
      const block = (
        configSchema.shape.publications.unwrap().element.parse({
          name: 'p',
          when: 'true',
          to: 'r',
          ...(said === undefined ? {} : { [registry.type]: said }),
        }) as Record<string, unknown>
      )[registry.type];
      const settings = block ?? defaultSettings(kind);
      const key = { registry: 'r', ...kind.key(registry.name?.(name) ?? name, settings as never) };
      return { key, protocol: registry.protocol ?? 'http', settings, instances: wanted };
    }

    /** What stands, as our own source reads it. */
    const stands = ({ key }: PublishedService): Standing =>
      standing(bridge.view.said.get(serviceId(key)), ({ metadata }) => markOf(metadata)?.owner === owner);

    /** Waits until the source reads what a target says that it wrote. */
    async function reads(of: PublishedService, placed: readonly Placed[]): Promise<void> {
      const same = (): boolean => {
        const { ours } = stands(of);
        const { set, gone } = difference(
          placed.map(({ instance }) => instance),
          ours,
          { hasWeights: kind.hasWeights },
        );
        const ids = (all: readonly Placed[]) =>
          all
            .map(({ id }) => id)
            .sort()
            .join(' ');
        return set.length === 0 && gone.length === 0 && ids(ours) === ids(placed);
      };
      await bridge.until('what was written to be read', same).catch((error: Error) => {
        throw new Error(
          `${error.message}; expected ${JSON.stringify(placed)}, read ${JSON.stringify(stands(of).ours)}`,
        );
      });
    }

    async function write(of: PublishedService, before = stands(of).ours, by = target): Promise<readonly Placed[]> {
      const { placed, refused } = await by.write(of, before, signal);
      expect(refused, 'refused').to.deep.equal([]);
      renewing = () => by.renew?.(of, placed, signal).catch(() => undefined);
      await reads(of, placed);
      renewing = () => undefined;
      return placed;
    }
    /** What was written last has to outlive its lease until it is read. */
    let renewing: () => unknown = () => undefined;
    const beat = setInterval(() => renewing(), 1_000);

    it('registers, changes and withdraws, and what it says is what a source reads', async () => {
      const first = service('comes', at(1, { metadata: { tier: 'a' } }), at(2));
      const placed = await write(first);
      expect(placed).to.have.length(2);
      expect(stands(first).ours.map(({ instance }) => instance.metadata.tier)).to.include('a');
      const before = requests;
      expect((await target.write(first, placed, signal)).placed).to.have.length(2);
      expect(requests - before, 'requests that write where nothing differs').to.equal(0);

      await write(service('comes', at(1, { metadata: { tier: 'b' } }), at(2)));
      await write(service('comes', at(1, { metadata: { tier: 'b' } }), at(2, { isUp: false })));
      expect(stands(first).ours.map(({ instance }) => instance.isUp)).to.have.members([true, false]);
      await write(service('comes', at(1), at(2)));
      if (registry.weights !== undefined) {
        await write(service('comes', at(1), at(2, { weight: other })));
        expect(stands(first).ours.map(({ instance }) => instance.weight)).to.have.members([nominal, other]);
      }
      await write(service('comes', at(2), at(3)));
      await write(service('comes'));
      expect(stands(first).ours).to.deep.equal([]);
    });

    it('leaves what is not ours alone', async () => {
      const name = registry.name?.('shared') ?? 'shared';
      await registry.foreign(name, '10.1.3.1', 8001);
      await registry.foreign(name, '10.1.3.9', 8009);
      const both = service('shared', at(1), at(2));
      await bridge.until('the foreign ones', () => stands(both).others.size === 2);
      const { placed, refused } = await target.write(both, [], signal);
      console.log(`      ${refused[0]?.reason}`);
      expect(refused).to.have.length(1);
      expect(placed.map(({ instance }) => instance.address)).to.deep.equal(['10.1.3.2']);
      await reads(both, placed);
      await write(service('shared'));
      expect(stands(both).others.size).to.equal(2);
    });

    if (registry.untakeable !== undefined)
      it('writes the rest of a service of which an instance cannot be taken', async () => {
        const mixed = service('mixed', at(1), at(2, registry.untakeable), at(3));
        const { placed, refused } = await target.write(mixed, [], signal);
        console.log(`      ${refused[0]?.reason}`);
        expect(refused).to.have.length(1);
        expect(placed).to.have.length(2);
        await reads(mixed, placed);
        await write(service('mixed'));
      });

    it('is taken over by another process without a gap', async () => {
      const two = service('handed', at(1), at(2));
      const placed = await write(two);
      let fewest = 2;
      bridge.changed = () => {
        fewest = Math.min(fewest, stands(two).ours.length);
      };
      const next = make();
      await target.close();
      if (kind.renewEvery !== undefined && next.renew !== undefined) await next.renew(two, placed, signal);
      const changed = service('handed', at(1), at(2, { metadata: { tier: 'c' } }));
      await write(changed, stands(two).ours, next);
      bridge.changed = () => undefined;
      expect(fewest).to.equal(2);
      target = next;
      await write(service('handed'));
    });

    it('throws in time while the server hangs, and writes when it is back', async () => {
      const { process } = registry.server();
      process.pause();
      const begun = performance.now();
      let error: Error | undefined;
      try {
        await target.write(service('hangs', at(1)), [], signal).catch((caught: Error) => {
          error = caught;
        });
        console.log(`      after ${Math.round(performance.now() - begun)} ms: ${error?.message}`);
      } finally {
        process.resume();
      }
      expect(error).to.be.instanceOf(Error);
      await bridge.until('live', () => bridge.status.state === 'live');
      // What came through late stands, too; and the first answer may be an end of the old connection.
      const again = await bridge.succeeds(() =>
        target.write(service('hangs', at(1)), stands(service('hangs')).ours, signal),
      );
      await reads(service('hangs'), again.placed);
      await write(service('hangs'));
    });

    it('has it there again after the server was killed', async () => {
      const { process } = registry.server();
      const two = service('killed', at(1), at(2));
      const placed = await write(two);
      await process.kill();
      await process.start();
      await bridge.until('live', () => bridge.status.state === 'live');
      const renewal = () => target.renew?.(two, placed, signal).catch(() => undefined);
      if (registry.survives) await reads(two, placed);
      else {
        if (target.renew !== undefined)
          await bridge.until('it to be missed', () => {
            void renewal()?.then((known) => {
              isKnown = known;
            });
            return isKnown === false;
          });
        const again = await bridge.succeeds(() => target.write(two, [], signal));
        await reads(two, again.placed);
      }
      await write(service('killed'));
    });
    let isKnown: boolean | undefined;

    if (registry.lease !== undefined)
      it('is gone by itself when it is not renewed, and stays when it is', async () => {
        const lease = registry.lease ?? 0;
        const kept = service('renewed', at(1));
        const left = service('left', at(1));
        const placed = await write(kept);
        await write(left);
        const every = kind.renewEvery?.(kept.settings as never) ?? lease;
        const end = performance.now() + lease + 5_000;
        while (performance.now() < end && (stands(left).ours.length > 0 || performance.now() < end - 5_000)) {
          expect(await target.renew?.(kept, placed, signal)).to.equal(true);
          expect(stands(kept).ours.filter(({ instance }) => instance.isUp)).to.have.length(1);
          await sleep(Math.min(every, 1_000));
        }
        expect(stands(left).ours.filter(({ instance }) => instance.isUp)).to.deep.equal([]);
        await write(service('renewed'));
      });

    it(`publishes ${services} services of ${instances} instances`, async () => {
      const letters = (number: number) => [...String(number)].map((digit) => 'abcdefghij'[Number(digit)]).join('');
      const all = Array.from({ length: services }, (_, index) =>
        withSettings(
          registry.settingsOfMany ?? registry.settings,
          `many-${letters(index)}`,
          Array.from({ length: instances }, (_, number) => at(number + 1)),
        ),
      );
      const placed = new Map<PublishedService, readonly Placed[]>();
      const measure = async (what: string, work: (of: PublishedService) => Promise<void>): Promise<void> => {
        const [begun, cpu, pieces, asked] = [performance.now(), process.cpuUsage(), wire.pieces, requests];
        const waiting = [...all];
        const worker = async (): Promise<void> => {
          for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await work(next);
        };
        await Promise.all(Array.from({ length: parallel }, worker));
        const { user, system } = process.cpuUsage(cpu);
        const seconds = ((performance.now() - begun) / 1_000).toFixed(1);
        const used = ((user + system) / 1e6).toFixed(1);
        console.log(
          `      ${what}: ${seconds} s, ${requests - asked} requests that write, ${wire.pieces - pieces} pieces, CPU ${used} s`,
        );
      };
      await measure('registered', async (of) => {
        const written = await target.write(of, [], signal);
        expect(written.refused).to.deep.equal([]);
        placed.set(of, written.placed);
      });
      await bridge.until(
        'all to be read',
        () => all.every((of) => stands(of).ours.length === instances),
        isFull ? 600_000 : 60_000,
      );
      if (kind.renewEvery?.(all[0]?.settings as never) !== undefined)
        await measure('renewed once', async (of) => {
          expect(await target.renew?.(of, placed.get(of) ?? [], signal)).to.equal(true);
        });
      await measure('withdrawn', async (of) => {
        await target.write({ ...of, instances: [] }, placed.get(of) ?? [], signal);
      });
      await bridge.until(
        'all to be gone',
        () => all.every((of) => stands(of).ours.length === 0),
        isFull ? 600_000 : 60_000,
      );
    });
  });
}
