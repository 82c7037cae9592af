import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { httpOk } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

const program = fileURLToPath(import.meta.url);

/** HTTP servers in a process of their own: once that is killed, their addresses refuse connections. */
export class Workload extends Server {
  /** @param addresses `ip:port` of each */
  constructor(readonly addresses: readonly string[]) {
    super({
      name: 'workload',
      command: process.execPath,
      args: [program, ...addresses],
      folder: serverFolder('workload'),
      ready: async () => (await Promise.all(addresses.map((address) => httpOk(`http://${address}/`)))).every(Boolean),
    });
  }
}

if (process.argv[1] === program)
  for (const address of process.argv.slice(2)) {
    const [host, port] = address.split(':');
    createServer((_, response) => response.end(`${address}\n`)).listen(Number(port), host);
  }
