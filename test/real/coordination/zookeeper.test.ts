import { requireServers } from '#test/servers/require.js';
import { startZookeeper, type Zookeeper } from '#test/servers/zookeeper.js';
import { coordinationContract } from './contract.js';

const sessionTimeout = 4_000;
let server: Zookeeper;

coordinationContract({
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
  idle: { watching: 60, leading: 130 },
});
