import type { Socket } from 'node:net';
import zookeeper, { type Client } from 'node-zookeeper-client';

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** node-zookeeper-client's connection, as far as it has to be held by the hand. Not part of its interface: a test looks whether it is still so. */
interface ConnectionManager {
  servers: ServerAddress[];
  socket?: Socket;
  pendingBuffer: Buffer | null;
  connect(): void;
  onSocketConnected(): void;
  onSocketData(data: Buffer): void;
  onSocketError(error: Error): void;
}

/** Pause between two rounds of connection attempts: at most this long, half of it on average, in ms. */
const pause = 1000;

/**
 * One client of node-zookeeper-client, made safe for a process that lives long: it takes IPv6 addresses, says why a server cannot be
 * reached, cannot throw out of a socket's event (as it does when it meets an error code unknown to it), starts each connection with an
 * empty buffer, can be cut off from a server that is silent, and stays closed once closed.
 */
export class Driver {
  readonly client: Client;
  readonly #manager: ConnectionManager;
  #closed = false;

  /**
   * @param sessionTimeout in ms, as asked of the server
   * @param failed is told why a connection could not be made or was cut
   */
  constructor(servers: readonly ServerAddress[], sessionTimeout: number, failed: (error: Error) => void) {
    const addresses = servers.map(({ host, port }) => `${host}:${port}`).join(',');
    this.client = zookeeper.createClient(addresses, { sessionTimeout, spinDelay: pause, retries: 0 });
    this.#manager = (this.client as unknown as { connectionManager: ConnectionManager }).connectionManager;
    this.#harden(servers, failed);
  }

  #harden(servers: readonly ServerAddress[], failed: (error: Error) => void): void {
    const manager = this.#manager;
    const { connect, onSocketConnected, onSocketData, onSocketError } = manager;
    const start = Math.floor(Math.random() * servers.length);
    manager.servers = [...servers.slice(start), ...servers.slice(0, start)];
    manager.connect = () => {
      manager.pendingBuffer = null;
      if (!this.#closed) connect.call(manager);
    };
    manager.onSocketConnected = () => {
      if (this.#closed) this.disconnect();
      else onSocketConnected.call(manager);
    };
    manager.onSocketData = (data) => {
      try {
        onSocketData.call(manager, data);
      } catch (cause) {
        failed(new Error('an answer could not be understood', { cause }));
        this.disconnect();
      }
    };
    manager.onSocketError = (error) => {
      failed(error);
      onSocketError.call(manager, error);
    };
  }

  /** The present connection, if one is open. */
  get socket(): Socket | undefined {
    const { socket } = this.#manager;
    return socket?.readyState === 'open' ? socket : undefined;
  }

  /** Cuts the connection; the client goes on to the next server by itself, with the same session. */
  disconnect(): void {
    this.#manager.socket?.destroy();
  }

  /** Ends the session, if a server can be told within half a second, and the connection in any case. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { socket } = this;
    this.client.close();
    if (socket !== undefined) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 500);
        socket.once('close', () => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    this.disconnect();
  }
}
