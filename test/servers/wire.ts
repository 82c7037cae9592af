import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { freePorts } from '#test/servers/ports.js';

/**
 * A TCP way to a server on loopback that counts what clients send, and can be cut. Several ports of one server keep their distances, as Nacos's do.
 */
export class Wire {
  /** The port to use in place of the server's first one. */
  readonly port: number;
  /** Pieces that clients sent. Small requests are one piece each; several that are sent at once may be one. */
  pieces = 0;
  /** Gets each of them, if set. */
  seen: ((piece: Buffer) => void) | undefined;
  /** What each connection's answers go through, if set; ending it ends the connection. */
  through: (() => Duplex) | undefined;
  #to: number;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  private constructor(port: number, to: number) {
    this.port = port;
    this.#to = to;
  }

  /** @param offsets of the server's other ports from its first one */
  static async open(to: number, offsets: readonly number[] = []): Promise<Wire> {
    const wire = new Wire(await freePorts([0, ...offsets]), to);
    for (const offset of [0, ...offsets]) await wire.#listen(offset);
    return wire;
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Leads to another server from now on; connections to the old one end. */
  turn(to: number): void {
    this.#to = to;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Ends all connections, and lets none come about until it is mended. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #listen(offset: number): Promise<void> {
    const server = createServer((client) => {
      if (this.#isCut) client.destroy();
      else this.#join(client, connect(this.#to + offset, '127.0.0.1'));
    });
    this.#servers.push(server);
    return new Promise((resolve) => server.listen(this.port + offset, '127.0.0.1', resolve));
  }

  #join(client: Socket, server: Socket): void {
    // Small pieces go on at once, as between the two ends without this.
    client.setNoDelay(true);
    server.setNoDelay(true);
    this.#sockets.add(client);
    client.on('data', (piece) => {
      this.pieces++;
      this.seen?.(piece);
    });
    client.on('close', () => this.#sockets.delete(client));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('error', () => from.destroy());
      from.on('close', () => to.destroy());
    }
    client.pipe(server);
    const answers = this.through?.();
    if (answers === undefined) server.pipe(client);
    else {
      server.pipe(answers).pipe(client);
      answers.on('close', () => {
        client.destroySoon();
        server.destroy();
      });
    }
  }
}
