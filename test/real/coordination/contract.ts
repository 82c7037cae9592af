import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { Json } from '#coordination/contract.js';
import { until } from '#test/servers/probes.js';
import { Wire } from '#test/servers/wire.js';
import { Candidate, now, Replica, type Stage } from './stage.js';

const add =
  (item: string) =>
  (content: Json | undefined): Json =>
    [...((content ?? []) as string[]).filter((one) => one !== item), item].sort();
const increment = (content: Json | undefined): Json => Number(content ?? 0) + 1;

/**
 * What coordination promises, shown with a real store.
 * @param more tests that this kind alone has
 */
export function coordinationContract(stage: Stage, more: () => void = () => undefined): void {
  describe(`coordination: ${stage.kind}`, function () {
    this.timeout(120_000);
    const closing: (() => Promise<void>)[] = [];

    before(async function () {
      await stage.start(this);
    });
    after(async () => {
      await Promise.all(closing.map((close) => close()));
      await stage.stop();
    });

    const replica = (group: string, port?: number): Replica => {
      const made = new Replica(stage, group, port);
      closing.push(() => made.coordination.close());
      return made;
    };
    const wire = async (): Promise<Wire | undefined> => {
      if (stage.port === undefined) return undefined;
      const made = await Wire.open(stage.port);
      closing.push(() => made.close());
      return made;
    };
    const candidate = (group: string, role: string, port?: number): Promise<Candidate> => {
      const made = new Candidate(stage, group, role, port);
      closing.push(() => made.kill());
      return made.start();
    };

    describe('documents', () => {
      it('shows what one writes to all, and not to another group', async () => {
        const [a, b, other] = [replica('one'), replica('one'), replica('two')];
        const heard = [a, b, other].map((each) => each.heard('news'));
        await until('all know that there is none', () => heard.every((contents) => contents.length === 1));
        expect(heard).to.deep.equal([[undefined], [undefined], [undefined]]);
        const start = performance.now();
        await a.coordination.update('news', () => ({ text: 'héllo', list: [1, null] }));
        const written = performance.now();
        await until('both know it', () => heard[0]?.length === 2 && heard[1]?.length === 2, 30_000, 2);
        console.log(
          `        written in ${Math.round(written - start)} ms, known to both after ${Math.round(performance.now() - start)} ms`,
        );
        expect(heard[0]?.[1]).to.deep.equal({ text: 'héllo', list: [1, null] });
        expect(heard[1]).to.deep.equal(heard[0]);
        const late = replica('one').heard('news');
        await until('one that comes later knows it', () => late.length === 1);
        expect(late).to.deep.equal([heard[0]?.[1]]);
        await other.coordination.update('news', () => 'of the other group');
        await until('the other group has its own', () => heard[2]?.length === 2);
        expect([heard[0]?.length, heard[1]?.length]).to.deep.equal([2, 2]);
        expect([a, b, other].map(({ coordination }) => coordination.error)).to.deep.equal([
          undefined,
          undefined,
          undefined,
        ]);
      });

      it('loses no change when two replicas write at once', async () => {
        const replicas = [replica('one'), replica('one')];
        const heard = replica('one').heard('count');
        const write = async ({ coordination }: Replica) => {
          for (let i = 0; i < 20; i++) await coordination.update('count', increment);
        };
        await Promise.all(replicas.map(write));
        await until('all are there', () => heard.at(-1) === 40);
        await Promise.all(
          Array.from({ length: 40 }, (_, i) => replicas[i % 2]?.coordination.update('count', increment)),
        );
        await until('all are there', () => heard.at(-1) === 80);
        const numbers = heard.slice(1) as number[];
        expect(numbers).to.deep.equal([...numbers].sort((a, b) => a - b));
      });

      it('refuses what cannot be written, and goes on', async () => {
        const { coordination } = replica('one');
        const failing = coordination.update('sizes', () => {
          throw new Error('no');
        });
        const outcomes = await Promise.allSettled([
          failing,
          coordination.update('sizes', () => 'x'.repeat(400_000)),
          coordination.update('sizes', () => 'x'.repeat(390_000)),
        ]);
        expect(outcomes.map(({ status }) => status)).to.deep.equal(['rejected', 'rejected', 'fulfilled']);
        expect(() => coordination.watch('No.Name', () => undefined)).to.throw(TypeError, 'No.Name');
      });

      it('waits for a store that is away, also at the start, and goes on with what is known', async () => {
        const known = replica('three');
        const heard = known.heard('list');
        await known.coordination.update('list', add('a'));
        await until('known', () => heard.length > 0 && Array.isArray(heard.at(-1)));
        await stage.away();
        const begun = replica('three');
        const heardByBegun = begun.heard('list');
        const updates = [known.coordination.update('list', add('b')), begun.coordination.update('list', add('c'))];
        await until('both say it', () => [known, begun].every(({ coordination }) => coordination.error !== undefined));
        console.log(`        ${known.coordination.error}`);
        expect(heard.at(-1)).to.deep.equal(['a']);
        expect(heardByBegun).to.deep.equal([]);
        await sleep(1_500);
        const start = performance.now();
        await stage.back();
        await Promise.all(updates);
        console.log(`        written ${Math.round(performance.now() - start)} ms after its return`);
        await until('both know both', () =>
          [heard, heardByBegun].every((contents) => String(contents.at(-1)) === 'a,b,c'),
        );
        await known.coordination.update('list', add('d'));
        await until('both know what comes later', () =>
          [heard, heardByBegun].every((contents) => String(contents.at(-1)) === 'a,b,c,d'),
        );
        await until('nothing is wrong', () =>
          [known, begun].every(({ coordination }) => coordination.error === undefined),
        );
      });

      it('rejects what is not written when it is closed', async () => {
        const made = await wire();
        if (made === undefined) await stage.away();
        else made.cut();
        const { coordination } = new Replica(stage, 'one', made?.port);
        const update = coordination
          .update('news', () => 1)
          .then(
            () => undefined,
            (error: Error) => error.message,
          );
        await sleep(300);
        const start = performance.now();
        await coordination.close();
        expect(await update).to.include('closed');
        expect(performance.now() - start).to.be.below(3_000);
        if (made === undefined) await stage.back();
      });
    });

    describe('elections', () => {
      const { takeover } = stage;
      /** A clock of another process, and what a busy machine takes. */
      const slack = 5_000;

      /** The one that leads now. */
      const leaderOf = async (candidates: readonly Candidate[]): Promise<Candidate> => {
        await until('one leads', () => candidates.some(({ leads }) => leads), takeover + 30_000);
        return candidates.find(({ leads }) => leads) as Candidate;
      };
      /** @returns ms from `start` until one of the candidates led */
      const taken = async (candidates: readonly Candidate[], start: number): Promise<number> => {
        const times = () => candidates.flatMap((one) => one.times('leads')).filter((time) => time > start);
        await until('another one leads', () => times().length > 0, takeover + slack);
        return Math.min(...times()) - start;
      };
      /** Between the last act of the one and the first act of another one. Nobody acts while another one does. */
      const apart = async (before: Candidate, after: readonly Candidate[], start: number): Promise<number> => {
        const acts = () => after.flatMap((one) => one.times('acts')).filter((time) => time > start);
        await until('the next one acts', () => acts().length > 0);
        const first = Math.min(...acts());
        const late = before.times('acts').filter((time) => time > first);
        expect(late, 'acts of the former leader after the first one of the next').to.deep.equal([]);
        return first - (before.times('acts').at(-1) ?? 0);
      };
      const print = (what: string, ms: number, gap: number) =>
        console.log(
          `        ${what}: another one led after ${Math.round(ms)} ms, ${Math.round(gap)} ms after the last act`,
        );

      const killed = async () => {
        const candidates = await Promise.all([1, 2, 3].map(() => candidate('four', 'killed')));
        const leader = await leaderOf(candidates);
        await sleep(1_000);
        expect(candidates.filter(({ leads }) => leads)).to.have.length(1);
        const others = candidates.filter((one) => one !== leader);
        const start = now();
        await leader.kill();
        print('killed', await taken(others, start), await apart(leader, others, start));
        // One that leaves by itself is waited for by nobody.
        const next = await leaderOf(others);
        const last = others.filter((one) => one !== next);
        const stopped = now();
        await next.stop();
        const ms = await taken(last, stopped);
        expect(ms).to.be.below(5_000);
        print('left', ms, await apart(next, last, stopped));
      };
      const frozen = async () => {
        const candidates = await Promise.all([1, 2].map(() => candidate('five', 'frozen')));
        const leader = await leaderOf(candidates);
        const others = candidates.filter((one) => one !== leader);
        const start = now();
        leader.pause();
        const ms = await taken(others, start);
        leader.resume();
        await until('the former one knows', () => !leader.leads);
        await sleep(1_000);
        expect(others.every(({ leads }) => leads)).to.equal(true);
        expect(leader.leads).to.equal(false);
        print('frozen', ms, await apart(leader, others, start));
      };
      const cutOff = async () => {
        const wires = await Promise.all([wire(), wire()]);
        const candidates = await Promise.all(wires.map((made) => candidate('six', 'cut-off', made?.port)));
        const leader = await leaderOf(candidates);
        const way = wires[candidates.indexOf(leader)];
        const others = candidates.filter((one) => one !== leader);
        const start = now();
        way?.cut();
        const ms = await taken(others, start);
        const end = leader.times('follows').find((time) => time > start) ?? Number.POSITIVE_INFINITY;
        expect(end, 'end of the first term').to.be.below(start + ms);
        way?.mend();
        await sleep(2_000);
        expect(leader.leads).to.equal(false);
        print(`cut off, led for ${Math.round(end - start)} ms more`, ms, await apart(leader, others, start));
      };

      // All of them wait for the store's time to run out: they do so at one time.
      let running: Promise<PromiseSettledResult<void>[]>;
      before(() => {
        running = Promise.allSettled([killed(), frozen(), ...(stage.port === undefined ? [] : [cutOff()])]);
      });
      const result = async (index: number) => {
        const outcome = (await running)[index];
        if (outcome?.status !== 'fulfilled') throw outcome?.reason;
      };
      it('has one leader of three; another one when it is killed, and at once when it leaves', () => result(0));
      it('has another leader when one is frozen, which does not act when it goes on', () => result(1));
      if (stage.port !== undefined)
        it('has another leader when one is cut off, after that has given up', () => result(2));

      if (stage.port !== undefined)
        it('has no leader while the store hangs, and one when it goes on', async () => {
          await running;
          const { coordination } = replica('seven');
          const told: boolean[] = [];
          const candidacy = coordination.campaign('hung', (isLeader) => told.push(isLeader));
          const heard = replica('seven').heard('list');
          await until('it leads', () => candidacy.isLeader && heard.length === 1);
          const start = performance.now();
          stage.server?.pause();
          try {
            const update = coordination.update('list', add('a'));
            await until('it has given up', () => told.length === 2, takeover);
            expect(candidacy.isLeader).to.equal(false);
            await until('it says why', () => coordination.error !== undefined);
            console.log(`        given up after ${Math.round(performance.now() - start)} ms: ${coordination.error}`);
            stage.server?.resume();
            await update;
          } finally {
            stage.server?.resume();
          }
          await until('it leads again', () => candidacy.isLeader && String(heard.at(-1)) === 'a', takeover + slack);
          await until('nothing is wrong', () => coordination.error === undefined);
          expect(told.slice(0, 3)).to.deep.equal([true, false, true]);
        });
    });

    more();

    if (stage.idle !== undefined) {
      const { watching, leading } = stage.idle;
      it('costs next to nothing while nothing changes', async () => {
        const seconds = 8;
        const ways = await Promise.all([wire(), wire()]);
        const [watcher, leader] = ways.map((way, index) => replica(`idle-${index}`, way?.port));
        const heard = watcher?.heard('quiet') ?? [];
        let leads = false;
        leader?.coordination.campaign('quiet', (isLeader) => {
          leads = isLeader;
        });
        await until('both are there', () => leads && heard.length === 1);
        await sleep(1_000);
        const before = ways.map((way) => way?.pieces ?? 0);
        await sleep(seconds * 1_000);
        const rates = ways.map((way, index) => (((way?.pieces ?? 0) - (before[index] ?? 0)) * 60) / seconds);
        console.log(`        pieces a minute: ${rates[0]} for a document, ${rates[1]} for a leader`);
        expect(rates[0]).to.be.at.most(watching);
        expect(rates[1]).to.be.at.most(leading);
      });
    }
  });
}
