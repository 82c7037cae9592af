import { expect } from 'chai';
import type { NacosRun } from '#test/real/nacos/recorder.js';
import { startNacosClient } from '#test/servers/nacosclient.js';
import { ports, read, server, versions } from './read.js';

for (const version of versions)
  describe(`Nacos ${version} with authentication`, function () {
    this.timeout(120_000);
    const user = { user: 'nacos', password: 'nacos' };
    const nacos = server({ version, auth: user });
    let recorder: NacosRun | undefined;

    afterEach(async () => {
      expect(await recorder?.stop()).to.be.below(2_000);
    });

    for (const api of ['grpc', 'http'])
      it(`reads with the right password over ${api}`, async () => {
        const client = await startNacosClient({
          address: nacos().address,
          service: `orders-${api}`,
          port: 9001,
          auth: user,
        });
        try {
          recorder = read(nacos(), { api, auth: { username: 'nacos', password: 'nacos' }, namespaces: ['*'] });
          await recorder.wait('live', ({ lastState }) => lastState?.kind === 'live');
          expect(ports(recorder.named(`orders-${api}`))).to.deep.equal([9001]);
          await client.setWeight(4);
          await recorder.wait(
            'pushed',
            ({ named }) => named.call(recorder, `orders-${api}`)?.instances[0]?.weight === 4,
          );
        } finally {
          await client.stop();
        }
      });

    for (const api of ['grpc', 'http'])
      it(`says that the password is wrong over ${api}, and nothing else`, async () => {
        recorder = read(nacos(), { api, auth: { username: 'nacos', password: 'wrong' } });
        await recorder.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
        expect(recorder.events.at(-1)).to.match(/login as "nacos" failed \(check user name and password\)/);
        expect(recorder.events.join()).not.to.match(/listing/);
        expect(recorder.services.size).to.equal(0);
      });

    for (const groups of [['*'], ['DEFAULT_GROUP']])
      it(`says that it may not, without a user, list groups ${groups}`, async () => {
        recorder = read(nacos(), { groups });
        await recorder.wait('failed', ({ lastState }) => lastState?.kind === 'failed');
        expect(recorder.events.at(-1)).to.match(/403/);
        expect(recorder.services.size).to.equal(0);
      });
  });
