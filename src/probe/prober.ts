import { connect } from 'node:net';
import pLimit from 'p-limit';

/** An address and port to dial. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** What became of a TCP connection: somebody listens; nobody does, or a firewall says so; no answer in time, or no way there. */
export type Answer = 'accepted' | 'refused' | 'silent';

export interface ProberOptions {
  /** Connections that are opened at a time. */
  readonly concurrency?: number;
  /** ms to wait for a connection. */
  readonly timeout?: number;
  /** ms between two questions to one endpoint that refuses. */
  readonly pause?: number;
}

const refusals = new Set(['ECONNREFUSED', 'ECONNRESET']);

/** So many refusals in a row are a verdict. */
const wanted = 3;

/** Opens TCP connections, in bounded number, to learn whether anything listens; closes each at once, and sends nothing. */
export class Prober {
  readonly #limit: ReturnType<typeof pLimit>;
  readonly #timeout: number;
  readonly #pause: number;
  readonly #closing = new Set<() => void>();
  #closed = false;

  constructor({ concurrency = 16, timeout = 2_000, pause = 2_000 }: ProberOptions = {}) {
    this.#limit = pLimit(concurrency);
    this.#timeout = timeout;
    this.#pause = pause;
  }

  /** One connection. Never rejects. */
  ask(endpoint: Endpoint): Promise<Answer> {
    return this.#limit(() => (this.#closed ? 'silent' : this.#connect(endpoint)));
  }

  /** `refused` only if all of three connections are, over some seconds; the first other answer counts. Never rejects. */
  async verdict(endpoint: Endpoint): Promise<Answer> {
    for (let asked = 1; ; asked++) {
      const answer = await this.ask(endpoint);
      if (answer !== 'refused' || asked === wanted) return answer;
      await this.#sleep();
    }
  }

  /** Whoever still waits hears `silent`. */
  close(): void {
    this.#closed = true;
    for (const end of [...this.#closing]) end();
  }

  #connect({ address, port }: Endpoint): Promise<Answer> {
    return new Promise((resolve) => {
      const socket = connect({ host: address, port });
      const end = (answer: Answer) => {
        clearTimeout(timer);
        this.#closing.delete(close);
        socket.destroy();
        resolve(answer);
      };
      const close = () => end('silent');
      const timer = setTimeout(close, this.#timeout);
      this.#closing.add(close);
      socket.on('connect', () => end('accepted'));
      socket.on('error', (error: NodeJS.ErrnoException) => end(refusals.has(error.code ?? '') ? 'refused' : 'silent'));
    });
  }

  #sleep(): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#closing.delete(end);
        resolve();
      };
      const timer = setTimeout(end, this.#pause);
      this.#closing.add(end);
      if (this.#closed) end();
    });
  }
}
