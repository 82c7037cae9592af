import { expect } from 'chai';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { coordinationContract } from './contract.js';
import { Replica, type Stage } from './stage.js';

const sessionTimeout = 4_000;
let server: Zookeeper;

const stage: Stage = {
  kind: 'ZooKeeper',
  // Its server looks for sessions that are over once in each tick.
  takeover: sessionTimeout + 1_000,
  get port() {
    return server?.port ?? 0;
  },
  async start(context) {
    await requireServers(context, 'zookeeper');
    server = await startZookeeper();
  },
  stop: () => server?.stop(),
  config: (group, port) => ({
    registries: [
      { name: 'zk', type: 'zookeeper', servers: [`127.0.0.1:${port}`], sessionTimeout: `${sessionTimeout}ms` },
    ],
    coordination: { type: 'zookeeper', registry: 'zk', path: `/pontoon/${group}` },
  }),
  away: () => server.kill(),
  back: async () => void (await server.start()),
  get server() {
    return server;
  },
  idle: { watching: 60, leading: 130 },
};

coordinationContract(stage, () => {
  it('keeps documents from those who have no password, where the registry has one', async () => {
    const auth = { username: 'pontoon', password: 's3cret' };
    const path = '/secured';
    const replicas = [auth, auth, { ...auth, password: 's3cret-of-another' }].map((one) => {
      const registries = [{ name: 'zk', type: 'zookeeper', servers: [server.connectString], auth: one }];
      const coordination = { type: 'zookeeper', registry: 'zk', path };
      return new Replica({ ...stage, config: () => ({ registries, coordination }) }, 'one');
    });
    const [writer, reader, other] = replicas;
    await writer?.coordination.update('news', () => 1);
    const heard = reader?.heard('news');
    await until('who has it knows', () => heard?.at(-1) === 1);
    other?.heard('news');
    await until('who has not says so', () => other?.coordination.error !== undefined);
    const error = other?.coordination.error;
    await Promise.all(replicas.map(({ coordination }) => coordination.close()));
    expect(error).to.equal('/secured/documents/news may not be read (check auth and the ACL): NO_AUTH');
  });
});
