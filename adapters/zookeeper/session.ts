import { type ConnectionOptions, createSecureContext } from 'node:tls';
import zookeeper, { type ACL, type Exception, type Stat, type Event as ZooKeeperEvent } from 'node-zookeeper-client';
import { readClientTls, type Secret } from '#config/fields.js';
import { asError, reasonOf } from '#model/reason.js';
import { Driver, type ServerAddress, type SessionName } from './driver.js';
import type { ZooKeeperConfig } from './schema.js';

export interface SessionOptions {
  readonly servers: readonly ServerAddress[];
  /** ms; the server may choose another. */
  readonly sessionTimeout: number;
  /** Connects with TLS. */
  readonly tls?: ConnectionOptions | undefined;
  /** Digest authentication. */
  readonly auth?: { readonly username: string; readonly password: Secret } | undefined;
  /** What it keeps outlives the connection: it is left to its timeout, and another one may go on with it. */
  readonly lasting?: { readonly resumed: SessionName | undefined };
}

/** One of the changes that are made together. */
export type Change =
  | { readonly what: 'create'; readonly path: string; readonly data: string; readonly mode: number }
  | { readonly what: 'write'; readonly path: string; readonly data: string }
  | { readonly what: 'remove'; readonly path: string };

/** The session that a registry's configuration asks for. @throws Error if a certificate or key cannot be read */
export function sessionOptions(config: ZooKeeperConfig): SessionOptions {
  const { servers, sessionTimeout, auth, tls } = config;
  if (tls === undefined) return { servers, sessionTimeout, auth };
  const { servername, ...files } = readClientTls(tls);
  const named = servername === undefined ? {} : { servername };
  return { servers, sessionTimeout, auth, tls: { ...named, secureContext: createSecureContext(files) } };
}

export interface SessionListener {
  /** The connection is lost; the session may come back, with its watches. */
  lost(error: Error): void;
  /** It came back; what happened meanwhile has been told to the watches. */
  back(): void;
  /** The session is over: expired, refused, closed by its server again and again, or away for longer than its timeout. */
  ended(error: Error): void;
  /** The server has answered. */
  alive(): void;
}

/** A request that was answered with an error, or not at all. */
export class ZooKeeperError extends Error {
  override readonly name = 'ZooKeeperError';
  /** One of node-zookeeper-client's codes, such as `Exception.NO_NODE`. */
  readonly code: number;
  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** Nothing is left of a session and what it kept. */
export class SessionExpired extends Error {
  override readonly name = 'SessionExpired';
}

/** Is called once, with what happened to the znode. */
export type Watcher = (what: string) => void;

/** As many lost connections within one session timeout end the session. */
const maxLosses = 6;

/** One session with a ZooKeeper ensemble, with promises, a heartbeat, and an end that every waiting request hears of. */
export class Session {
  /** Bytes that the session's watches take in the one packet that sets them again after a reconnect. */
  watchBytes = 0;
  readonly #driver: Driver;
  readonly #options: SessionOptions;
  readonly #listener: SessionListener;
  readonly #timer: NodeJS.Timeout;
  readonly #waiting = new Set<{ resolve: () => void; reject: (error: Error) => void }>();
  readonly #requests = new Set<(error: Error) => void>();
  #connected = false;
  #everConnected = false;
  #ended: Error | undefined;
  #lostAt = performance.now();
  #losses: number[] = [];
  #failures: string[] = [];
  #unanswered = 0;
  #lastSocket: unknown;

  constructor(options: SessionOptions, listener: SessionListener) {
    const { servers, sessionTimeout, auth, tls, lasting } = options;
    this.#options = options;
    this.#listener = listener;
    this.#driver = new Driver(servers, sessionTimeout, (error) => this.#failed(error), tls, lasting?.resumed);
    const { client } = this.#driver;
    if (auth !== undefined) client.addAuthInfo('digest', Buffer.from(`${auth.username}:${auth.password.reveal()}`));
    client.on('connected', () => this.#onConnected());
    client.on('disconnected', () => this.#onDisconnected());
    client.on('expired', () => this.#end(new SessionExpired('the session has expired')));
    client.on('authenticationFailed', () => this.#end(new Error('the server refused user name and password')));
    this.#timer = setInterval(() => this.#tick(), sessionTimeout / 3);
    client.connect();
  }

  /** Resolves when it is connected. @throws the reason of its end */
  async connected(): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#connected) return;
    await new Promise<void>((resolve, reject) => this.#waiting.add({ resolve, reject }));
  }

  /** Names of a znode's children, in no order. With a watcher, the next change of the list is told. @throws ZooKeeperError */
  children(path: string, watcher?: Watcher): Promise<string[]> {
    const { client } = this.#driver;
    return this.#ask(path, (done) =>
      watcher === undefined ? client.getChildren(path, done) : client.getChildren(path, told(watcher), done),
    );
  }

  /** A znode's data as UTF-8. With a watcher, its next change is told. @throws ZooKeeperError */
  async data(path: string, watcher?: Watcher): Promise<string> {
    const { client } = this.#driver;
    const data = await this.#ask<Buffer | undefined>(path, (done) =>
      watcher === undefined ? client.getData(path, done) : client.getData(path, told(watcher), done),
    );
    return data?.toString() ?? '';
  }

  /** Whether a znode is there. With a watcher, its next coming, change or going is told. @throws ZooKeeperError */
  async exists(path: string, watcher?: Watcher): Promise<boolean> {
    const { client } = this.#driver;
    const stat = await this.#ask<unknown>(path, (done) =>
      watcher === undefined ? client.exists(path, done) : client.exists(path, told(watcher), done),
    );
    return stat !== null && stat !== undefined;
  }

  /** Whether a znode is there and has no session as its owner. @throws ZooKeeperError */
  async isPersistent(path: string): Promise<boolean> {
    return /^0+$/.test((await this.owner(path)) ?? '');
  }

  /** Id of the session that keeps a znode, in hexadecimal digits, all 0 for a persistent one; undefined if there is no such znode. @throws ZooKeeperError */
  async owner(path: string): Promise<string | undefined> {
    const stat = await this.#ask<{ readonly ephemeralOwner: Buffer } | null>(path, (done) =>
      this.#driver.client.exists(path, (error, found) => done(error, found as unknown as { ephemeralOwner: Buffer })),
    );
    return stat?.ephemeralOwner.toString('hex');
  }

  /** A znode's data as UTF-8, and the number of its version. With a watcher, its next change is told. @throws ZooKeeperError */
  async read(path: string, watcher?: Watcher): Promise<{ readonly data: string; readonly version: number }> {
    const { client } = this.#driver;
    return this.#ask(path, (done) => {
      const answer = (error: Error | Exception | null, data: Buffer | undefined, stat: Stat) =>
        done(error, { data: data?.toString() ?? '', version: stat?.version });
      if (watcher === undefined) client.getData(path, answer);
      else client.getData(path, told(watcher), answer);
    });
  }

  /**
   * Creates a znode. With `auth`, only those who have it may see or change it.
   * @param mode one of node-zookeeper-client's `CreateMode`
   * @returns its path, with the number of a sequential one
   * @throws ZooKeeperError
   */
  create(path: string, data: string, mode: number): Promise<string> {
    const acl = this.#acl;
    return this.#ask(path, (done) => this.#driver.client.create(path, Buffer.from(data), acl, mode, done), 'created');
  }

  /** Makes all changes at once, in their order, or none of them. @throws ZooKeeperError of the first that cannot be made */
  async change(changes: readonly Change[]): Promise<void> {
    const transaction = this.#driver.client.transaction();
    for (const change of changes)
      if (change.what === 'remove') transaction.remove(change.path);
      else if (change.what === 'write') transaction.setData(change.path, Buffer.from(change.data));
      else transaction.create(change.path, Buffer.from(change.data), this.#acl, change.mode);
    const { path = '/' } = changes[0] ?? {};
    await this.#ask<unknown>(path, (done) => transaction.commit(done), 'written');
  }

  get #acl(): ACL[] {
    const { ACL, Id, Permission } = zookeeper;
    const who = this.#options.auth === undefined ? new Id('world', 'anyone') : new Id('auth', '');
    return [new ACL(Permission.ALL, who)];
  }

  /** By which another process goes on with it. */
  get name(): SessionName {
    return this.#driver.name;
  }

  /** Writes a znode that still has the version; -1 for any. @throws ZooKeeperError */
  async write(path: string, data: string, version: number): Promise<void> {
    await this.#ask<Stat>(
      path,
      (done) => this.#driver.client.setData(path, Buffer.from(data), version, done),
      'written',
    );
  }

  /** The session's timeout as the server has chosen it, in ms. */
  get timeout(): number {
    return this.#driver.client.getSessionTimeout();
  }

  /** Ends the session, or leaves a lasting one alone. Every waiting request fails. */
  async close(): Promise<void> {
    this.#ended ??= new Error('the session is closed');
    this.#settle(this.#ended);
    await this.#leave();
  }

  async #leave(): Promise<void> {
    if (this.#options.lasting === undefined) await this.#driver.close();
    else this.#driver.detach();
  }

  #ask<T>(
    path: string,
    send: (done: (error: Error | Exception | null, value: T) => void) => void,
    what = 'read',
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#ended !== undefined) throw this.#ended;
      this.#requests.add(reject);
      send((error, value) => {
        this.#requests.delete(reject);
        if (error === null || error === undefined) resolve(value);
        else reject(translate(error, path, what));
      });
    });
  }

  #onConnected(): void {
    if (this.#ended !== undefined) return;
    const returned = this.#everConnected;
    this.#connected = true;
    this.#everConnected = true;
    this.#failures = [];
    this.#unanswered = 0;
    for (const { resolve } of this.#waiting) resolve();
    this.#waiting.clear();
    // The watches are set again before this first request, so their events come before its answer.
    this.#beat(() => returned && this.#listener.back());
  }

  #onDisconnected(): void {
    if (this.#ended !== undefined || !this.#connected) return;
    const now = performance.now();
    this.#connected = false;
    this.#lostAt = now;
    this.#losses = [...this.#losses.filter((at) => now - at < this.#options.sessionTimeout), now];
    const error = new Error(`the connection to ${this.#places()} is lost${this.#reasons()}`);
    if (this.#losses.length >= maxLosses)
      this.#end(new Error(`${error.message}, for the ${maxLosses}th time in a row`));
    else this.#listener.lost(error);
  }

  /** A server that cannot be reached at the very first attempt is not waited for: the reason is more useful. */
  #failed(error: Error): void {
    // OpenSSL's end in a line feed.
    const reason = reasonOf(error).trim();
    if (!this.#failures.includes(reason)) this.#failures.push(reason);
    if (!this.#everConnected && this.#failures.length >= this.#options.servers.length)
      this.#end(new Error(`${this.#places()} cannot be reached${this.#reasons()}`));
  }

  /** Every third of the session timeout: asks a connected server for an answer, and looks after one that is not there. */
  #tick(): void {
    const { socket } = this.#driver;
    if (this.#connected) {
      if (this.#unanswered === 0) this.#beat(() => undefined);
      else if (++this.#unanswered > 2) {
        this.#failures.push('it does not answer');
        this.#driver.disconnect();
      }
    } else if (performance.now() - this.#lostAt > this.#options.sessionTimeout)
      this.#end(new Error(`no ZooKeeper answers at ${this.#places()}${this.#reasons()}`));
    // A connection that has not become a session since the last look is to a server that hangs.
    else if (socket !== undefined && socket === this.#lastSocket) this.#driver.disconnect();
    this.#lastSocket = socket;
  }

  #beat(answered: () => void): void {
    const alive = () => {
      this.#unanswered = 0;
      this.#listener.alive();
      answered();
    };
    this.#unanswered = 1;
    this.exists('/').then(alive, (error) => {
      // A refusal is an answer, too. What was lost with the connection, the connection says.
      if (error instanceof ZooKeeperError && error.code !== zookeeper.Exception.CONNECTION_LOSS) alive();
    });
  }

  #end(error: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#settle(error);
    this.#listener.ended(error);
    // In its own turn: the driver may be in the middle of an event.
    setImmediate(() => void this.#leave());
  }

  #settle(error: Error): void {
    clearInterval(this.#timer);
    for (const { reject } of this.#waiting) reject(error);
    for (const reject of this.#requests) reject(error);
    this.#waiting.clear();
    this.#requests.clear();
  }

  #places(): string {
    return this.#options.servers.map(({ host, port }) => `${host}:${port}`).join(', ');
  }

  #reasons(): string {
    return this.#failures.length === 0 ? '' : `: ${this.#failures.join('; ')}`;
  }
}

function told(watcher: Watcher): (event: ZooKeeperEvent) => void {
  const { Event } = zookeeper;
  const words = new Map([
    [Event.NODE_CREATED, 'znode created'],
    [Event.NODE_DELETED, 'znode deleted'],
    [Event.NODE_DATA_CHANGED, 'znode data changed'],
    [Event.NODE_CHILDREN_CHANGED, 'znode children changed'],
  ]);
  return (event) => watcher(words.get(event.getType()) ?? 'znode changed');
}

function translate(error: Error | Exception, path: string, what: string): Error {
  if (!('code' in error) || typeof error.code !== 'number') return asError(error);
  const hint =
    error.code === zookeeper.Exception.NO_AUTH ? `may not be ${what} (check auth and the ACL)` : `cannot be ${what}`;
  return new ZooKeeperError(`${path} ${hint}: ${error.name}`, error.code);
}
