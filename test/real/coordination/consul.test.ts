import { expect } from 'chai';
import { request } from 'undici';
import { type Consul, startConsul } from '#test/servers/consul.js';
import { until } from '#test/servers/probes.js';
import { requireServers } from '#test/servers/require.js';
import { coordinationContract } from './contract.js';
import { Replica, type Stage } from './stage.js';

const management = '11111111-2222-3333-4444-555555555555';
const acl = { enabled: true, default_policy: 'deny', tokens: { initial_management: management, agent: management } };
/** What the README says that a token needs. */
const rules = 'key_prefix "pontoon/" { policy = "write" } session_prefix "" { policy = "write" }';
let server: Consul;
let token: string;

async function put(path: string, body: object): Promise<Record<string, string>> {
  const answer = await request(`${server.url}/v1/acl/${path}`, {
    method: 'PUT',
    headers: { 'x-consul-token': management },
    body: JSON.stringify(body),
  });
  return (await answer.body.json()) as Record<string, string>;
}

const stage: Stage = {
  kind: 'Consul',
  // A session may last for twice its time to live; then there is the lock's delay, and a look each second.
  takeover: 2 * 10_000 + 5_000 + 1_000,
  get port() {
    return server?.port ?? 0;
  },
  async start(context) {
    await requireServers(context, 'consul');
    server = await startConsul({ config: { acl }, token: management });
    const { ID } = await put('policy', { Name: 'replicas', Rules: rules });
    token = (await put('token', { Policies: [{ ID }] })).SecretID ?? '';
  },
  stop: () => server?.stop(),
  config: (group, port) => ({
    registries: [{ name: 'consul', type: 'consul', servers: [`http://127.0.0.1:${port}`], auth: { token } }],
    coordination: { type: 'consul', registry: 'consul', prefix: `pontoon/${group}` },
  }),
  away: () => server.kill(),
  back: async () => void (await server.start()),
  get server() {
    return server;
  },
  idle: { watching: 10, leading: 80 },
};

coordinationContract(stage, () => {
  it('says what a token may not do, without the token', async () => {
    const { SecretID = '' } = await put('token', { Policies: [] });
    const registries = [{ name: 'consul', type: 'consul', servers: [server.url], auth: { token: SecretID } }];
    const replica = new Replica(
      { ...stage, config: () => ({ ...stage.config('one', server.port), registries }) },
      'one',
    );
    replica.heard('news');
    await until('it says why', () => replica.coordination.error !== undefined);
    const { error } = replica.coordination;
    await replica.coordination.close();
    console.log(`        ${error}`);
    expect(error)
      .to.match(/answered 403 Permission denied: token with AccessorID/)
      .and.not.include(SecretID);
  });
});
