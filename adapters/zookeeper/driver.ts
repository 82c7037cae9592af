import { connect as connectPlain, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import zookeeper, { type Client } from 'node-zookeeper-client';
import { asError } from '#model/reason.js';

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** A session's id and its password, in hexadecimal digits. */
export interface SessionName {
  readonly id: string;
  readonly password: string;
}

/** node-zookeeper-client's connection, as far as it has to be held by the hand. Not part of its interface: a test looks whether it is still so. */
interface ConnectionManager {
  servers: ServerAddress[];
  socket?: Socket;
  sessionId: Buffer;
  sessionPassword: Buffer;
  pendingBuffer: Buffer | null;
  /** ms. */
  connectTimeout: number;
  connectTimeoutHandler: NodeJS.Timeout | null;
  setState(state: number): void;
  findNextServer(found: (server: ServerAddress) => void): void;
  connect(): void;
  onSocketConnected(): void;
  onSocketConnectTimeout(): void;
  onSocketData(data: Buffer): void;
  onSocketDrain(): void;
  onSocketClosed(): void;
  onSocketError(error: Error): void;
}

/** The connection manager's number for a connection that is being made. */
const connecting = 1;

/** Pause between two rounds of connection attempts: at most this long, half of it on average, in ms. */
const pause = 1000;

/**
 * One client of node-zookeeper-client, made safe for a process that lives long: it takes IPv6 addresses and TLS, says why a server cannot be
 * reached, cannot throw out of a socket's event (as it does when it meets an error code unknown to it), starts each connection with an
 * empty buffer, can be cut off from a server that is silent, and stays closed once closed.
 */
export class Driver {
  readonly client: Client;
  readonly #manager: ConnectionManager;
  readonly #tls: ConnectionOptions | undefined;
  #closed = false;

  /**
   * @param sessionTimeout in ms, as asked of the server
   * @param failed is told why a connection could not be made or was cut
   * @param tls connects with TLS
   * @param resumed a session to go on with
   */
  constructor(
    servers: readonly ServerAddress[],
    sessionTimeout: number,
    failed: (error: Error) => void,
    tls?: ConnectionOptions,
    resumed?: SessionName,
  ) {
    this.#tls = tls;
    const addresses = servers.map(({ host, port }) => `${host}:${port}`).join(',');
    this.client = zookeeper.createClient(addresses, { sessionTimeout, spinDelay: pause, retries: 0 });
    this.#manager = (this.client as unknown as { connectionManager: ConnectionManager }).connectionManager;
    if (resumed !== undefined) {
      this.#manager.sessionId = Buffer.from(resumed.id, 'hex');
      this.#manager.sessionPassword = Buffer.from(resumed.password, 'hex');
    }
    this.#harden(servers, failed);
  }

  /** By which another connection goes on with the session. */
  get name(): SessionName {
    const { client } = this;
    return { id: client.getSessionId().toString('hex'), password: client.getSessionPassword().toString('hex') };
  }

  #harden(servers: readonly ServerAddress[], failed: (error: Error) => void): void {
    const manager = this.#manager;
    const { onSocketConnected, onSocketData, onSocketError } = manager;
    const start = Math.floor(Math.random() * servers.length);
    manager.servers = [...servers.slice(start), ...servers.slice(0, start)];
    manager.connect = () => {
      manager.pendingBuffer = null;
      if (!this.#closed) this.#connect(failed);
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

  /** As the library does it, but for TLS. A throw from here would end the process; without a connection, the session ends in time. */
  #connect(failed: (error: Error) => void): void {
    const manager = this.#manager;
    const tls = this.#tls;
    manager.setState(connecting);
    manager.findNextServer((server) => {
      try {
        const socket = tls === undefined ? connectPlain(server) : connectTls({ ...tls, ...server });
        manager.socket = socket;
        manager.connectTimeoutHandler = setTimeout(() => manager.onSocketConnectTimeout(), manager.connectTimeout);
        socket.setNoDelay();
        socket.on(tls === undefined ? 'connect' : 'secureConnect', () => manager.onSocketConnected());
        socket.on('data', (data) => manager.onSocketData(data));
        socket.on('drain', () => manager.onSocketDrain());
        socket.on('close', () => manager.onSocketClosed());
        socket.on('error', (error) => manager.onSocketError(error));
      } catch (error) {
        failed(asError(error));
      }
    });
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

  /** Closes the connection, and leaves the session to its timeout. */
  detach(): void {
    this.#closed = true;
    this.disconnect();
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
