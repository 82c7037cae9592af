import { readFileSync } from 'node:fs';
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { hostPortText, readClientTls } from '#config/fields.js';
import type { IstiodConfig, IstiodServer } from './schema.js';

/** A method that istiod need not have: any answer is a sign of life. */
const anyMethod = '/grpc.health.v1.Health/Check';
/** ms for an answer to that. */
const pingTimeout = 10_000;
/** ms for the first, and with it for the connection. */
const connectTimeout = 5_000;

export interface ConnectionOptions extends Pick<IstiodConfig, 'tls' | 'token' | 'tokenFile' | 'heartbeat' | 'node'> {
  /** Path of the gRPC method, of which requests and responses are streams. */
  readonly method: string;
  /** The server gave a sign of life. */
  readonly onAlive: () => void;
}

/** The server does not know the method. */
export class UnknownMethodError extends Error {
  override readonly name = 'UnknownMethodError';
}

/** One stream of ADS with one server, with a heartbeat beside it that notices a server that hangs. */
export class Connection {
  readonly #shown: string;
  readonly #client: Client;
  readonly #options: ConnectionOptions;
  readonly #token: string | undefined;
  #stream: ClientDuplexStream<Uint8Array, Buffer> | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #pinging: ClientUnaryCall | undefined;

  /** @throws Error of the file system, or if a token would go over the wire in plaintext */
  constructor(server: IstiodServer, options: ConnectionOptions) {
    this.#shown = hostPortText(server);
    this.#options = options;
    this.#token = tokenOf(options);
    const { tls } = options;
    this.#client = new Client(this.#shown, channelCredentials(tls), {
      // A connection that is given up is closed, whoever else reads the same server.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
      'grpc.enable_http_proxy': 0,
      ...(tls?.serverName === undefined ? {} : { 'grpc.ssl_target_name_override': tls.serverName }),
    });
  }

  /** Connects. @throws Error that names the server and what was wrong */
  async open(): Promise<void> {
    await this.#ping(connectTimeout);
    const headers = new Metadata();
    if (this.#token !== undefined) headers.set('authorization', `Bearer ${this.#token}`);
    const { method, heartbeat, node } = this.#options;
    if (node.cluster !== undefined) headers.set('clusterid', node.cluster);
    this.#stream = this.#client.makeBidiStreamRequest(method, asBuffer, (bytes) => bytes, headers);
    // Whoever reads the messages is told.
    this.#stream.on('error', () => undefined);
    this.#heartbeat = setInterval(() => this.#beat(), heartbeat);
  }

  send(message: Uint8Array): void {
    this.#stream?.write(message);
  }

  /** The server's messages, as fast as they are taken. @throws Error that says why there are no more, {@link UnknownMethodError} if that is why */
  async *messages(): AsyncGenerator<Buffer, never> {
    try {
      for await (const message of this.#stream ?? []) {
        this.#options.onAlive();
        yield message as Buffer;
      }
    } catch (error) {
      throw this.#named(error as ServiceError);
    }
    throw new Error(`${this.#shown}: the server has ended the stream`);
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.#pinging?.cancel();
    this.#stream?.cancel();
    this.#client.close();
  }

  #beat(): void {
    this.#ping(pingTimeout).catch((error: Error) => this.#stream?.destroy(error));
  }

  #ping(timeout: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + timeout;
      const nothing = Buffer.alloc(0);
      this.#pinging = this.#client.makeUnaryRequest(
        anyMethod,
        asBuffer,
        (bytes) => bytes,
        nothing,
        { deadline },
        (error) => {
          const isSilent = error?.code === status.UNAVAILABLE || error?.code === status.DEADLINE_EXCEEDED;
          if (error !== null && isSilent) return reject(this.#named(error));
          if (error?.code !== status.CANCELLED) this.#options.onAlive();
          resolve();
        },
      );
    });
  }

  /** The error with the server's name, and without the token. */
  #named({ code, details, message }: ServiceError): Error {
    const words = (details || message).replace(/ Resolution note: *$/, '');
    const said = code === status.DEADLINE_EXCEEDED ? 'no answer in time' : words;
    const hint = code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED ? ' (check the token)' : '';
    const text = said.startsWith(this.#shown) ? said : `${this.#shown}: ${said}${hint}`;
    const shown = this.#token === undefined ? text : text.replaceAll(this.#token, '[redacted]');
    return code === status.UNIMPLEMENTED ? new UnknownMethodError(shown) : new Error(shown);
  }
}

function tokenOf({ tls, token, tokenFile }: ConnectionOptions): string | undefined {
  if (token === undefined && tokenFile === undefined) return undefined;
  if (tls === undefined)
    throw new Error('a token is sent over TLS only: set tls, {} for the authorities of the system');
  return token?.reveal() ?? readFileSync(tokenFile as string, 'utf8').trim();
}

function channelCredentials(tls: IstiodConfig['tls']): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const { ca, key, cert } = readClientTls(tls);
  return credentials.createSsl(ca ?? null, key ?? null, cert ?? null);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
