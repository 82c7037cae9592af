import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { reasonOf } from '#model/reason.js';
import type { Nacos } from '#test/servers/nacos.js';
import { until } from '#test/servers/probes.js';
import { instance, Publisher } from './publisher.js';
import { ports, read, server, versions } from './read.js';
import type { NacosRun } from './recorder.js';
import { Registrations } from './registrations.js';

const password = 'nacos';
/** Seconds that a token is good for. */
const tokenLife = 3;

for (const version of versions)
  describe(`Nacos ${version}, ways to be let in`, function () {
    this.timeout(120_000);
    const nacos = server({
      version,
      auth: { user: 'nacos', password },
      settings: { 'nacos.core.auth.plugin.nacos.token.expire.seconds': tokenLife },
    });
    // What the test server is set to.
    const identity = { key: 'pontoon-test', value: 'pontoon-test' };
    let recorder: NacosRun | undefined;

    const register = async (service: string, port: number) =>
      await new Registrations(nacos(), await nacos().accessToken()).register({ service, port });

    const writer = { username: 'writer', password: 'writer-pass' };

    // Early, since servers take some 15 s to know of it.
    before(() => addUser(nacos(), writer));
    afterEach(async () => {
      expect(await recorder?.stop()).to.be.below(2_000);
    });

    for (const api of ['grpc', 'http'])
      it(`outlives its token over ${api}`, async () => {
        await register(`lasting-${api}`, 9_001);
        recorder = read(nacos(), { api, auth: { username: 'nacos', password } });
        await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
        const seen = recorder.states.length;
        await sleep(3 * tokenLife * 1_000);
        await register(`late-${api}`, 9_002);
        await recorder.wait('found', (run) => ports(run.named(`late-${api}`))?.[0] === 9_002);
        expect(recorder.states.slice(seen)).to.deep.equal([]);
        expect(recorder.unreadables.size).to.equal(0);
      });

    it('writes over http and grpc; says that a password is wrong, and does not show it', async () => {
      const publisher = new Publisher(nacos(), { auth: { username: 'nacos', password } });
      for (const api of ['http', 'grpc']) await publisher.write(`published-${api}`, { api }, instance('10.9.0.1', 80));
      recorder = read(nacos(), { auth: { username: 'nacos', password } });
      for (const api of ['http', 'grpc']) {
        expect(await publisher.renew(`published-${api}`)).to.equal(true);
        await publisher.write(`published-${api}`, { api }, instance('10.9.0.1', 81));
        await recorder.wait('changed', (run) => ports(run.named(`published-${api}`))?.join() === '81');
      }
      await publisher.close();
      const wrong = new Publisher(nacos(), { auth: { username: 'nacos', password: 'a-wrong-0badc0de' } });
      const failure = await wrong.write('never', {}, instance('10.9.0.1', 80)).catch(reasonOf);
      await wrong.close();
      expect(failure)
        .to.match(/login as "nacos" failed/)
        .and.not.include('0badc0de');
    });

    it("is let in over http by the servers' own identity, without a login", async () => {
      await register('known', 9_003);
      recorder = read(nacos(), { api: 'http', auth: { identity }, namespaces: ['*'] });
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
      expect(ports(recorder.named('known'))).to.deep.equal([9_003]);
    });

    it('says that gRPC does not take the identity alone, and takes it beside a user', async () => {
      await register('known', 9_003);
      recorder = read(nacos(), { auth: { identity } });
      await recorder.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
      expect(recorder.reason).to.match(/403.*auth.identity is taken over HTTP only: set api: http, or add a user/);
      await recorder.stop();
      recorder = read(nacos(), { auth: { identity, username: 'nacos', password } });
      await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
    });

    it('says that the identity is wrong, and does not show it', async () => {
      const wrong = { key: 'pontoon-test', value: 'a-wrong-0badc0de' };
      recorder = read(nacos(), { auth: { identity: wrong } });
      await recorder.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
      expect(recorder.reason).to.match(/403/);
      expect(recorder.events.join()).not.to.include(wrong.value);
    });

    it('writes for a user who is no administrator, and over nothing that is not its own', async () => {
      await register('foreign', 9_004);
      const publisher = new Publisher(nacos(), { auth: writer });
      const isAllowed = async () =>
        (await publisher.write('granted', {}, instance('10.9.0.1', 80)).catch(() => undefined)) !== undefined;
      await until('the right to write', isAllowed, 40_000, 500);
      recorder = read(nacos(), { auth: { username: 'nacos', password } });
      await recorder.wait('written', (run) => ports(run.named('granted'))?.join() === '80');
      const own = instance('10.9.0.2', 80);
      const { placed, refused } = await publisher.write('foreign', {}, instance('127.0.0.1', 9_004), own);
      await publisher.close();
      expect(placed.map((one) => one.instance.address)).to.deep.equal(['10.9.0.2']);
      expect(refused.map(({ reason }) => reason).join()).to.match(/it registered itself/);
    });
  });

/** Adds a user who may read and write services of the default namespace, and is no administrator. */
async function addUser(nacos: Nacos, user: Readonly<Record<'username' | 'password', string>>): Promise<void> {
  const isOld = nacos.version === '2.3.2';
  const base = isOld ? '/v1/auth' : '/v3/auth';
  const plural = isOld ? 's' : '';
  const resource = isOld ? ':*:*' : 'public:*:*';
  const send = async (path: string, fields: Readonly<Record<string, string>>) => {
    const headers = { authorization: `Bearer ${await nacos.accessToken()}` };
    const query = new URLSearchParams(fields);
    const response = await nacos.fetch(`${base}/${path}${plural}?${query}`, { method: 'POST', headers });
    expect(response.status, await response.text()).to.equal(200);
  };
  await send('user', user);
  await send('role', { role: 'writers', username: user.username });
  await send('permission', { role: 'writers', resource, action: 'rw' });
}
