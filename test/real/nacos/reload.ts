import { expect } from 'chai';
import type { Nacos } from '#test/servers/nacos.js';

/** Makes a server send all its clients to another one. */
export async function reload(server: Nacos, redirectAddress: string): Promise<void> {
  const isOld = server.version === '2.3.2';
  const ids = await connections(server);
  expect(ids).not.to.deep.equal([]);
  for (const connectionId of ids) {
    const query = new URLSearchParams({ connectionId, redirectAddress });
    await ask(server, isOld ? 'GET' : 'POST', `${loaderOf(server)}/reloadClient?${query}`);
  }
}

async function ask(server: Nacos, method: string, path: string): Promise<Record<string, unknown>> {
  const answer = await server.fetch(path, { method });
  const text = await answer.text();
  expect(answer.status, text).to.equal(200);
  return text.startsWith('{') ? JSON.parse(text) : {};
}

/** Ids of the connections that a server has over gRPC. */
export async function connections(server: Nacos): Promise<string[]> {
  const current = await ask(server, 'GET', `${loaderOf(server)}/current`);
  return Object.keys(server.version === '2.3.2' ? current : (current.data as object));
}

function loaderOf(server: Nacos): string {
  return server.version === '2.3.2' ? '/v2/core/loader' : '/v3/admin/core/loader';
}
