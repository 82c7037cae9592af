import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { freePort } from '#test/servers/ports.js';

/** Stands for the process of an instance: it takes connections at a port of 127.0.0.1 until it dies, from when on they are refused. */
export class Workload {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number) {
    this.port = port;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(): Promise<Workload> {
    const workload = new Workload(await freePort());
    workload.#server.listen(workload.port, '127.0.0.1');
    await once(workload.#server, 'listening');
    return workload;
  }

  /** As endpoints are written: `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  die(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
