import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Dispatcher, request } from 'undici';

/** One question that went through, and how it was answered. */
export interface Exchange {
  readonly path: string;
  readonly asked: IncomingHttpHeaders;
  readonly answered: IncomingHttpHeaders;
  /** Bytes of the answer's body, as they went over the wire. */
  readonly bytes: number;
}

/** Stands before a real server, writes down what is asked, and answers in its place when it is to be sick. */
export class Relay {
  readonly exchanges: Exchange[] = [];
  /** Questions so far. */
  asked = 0;
  /** Answers in place of the server. */
  sick: ((response: ServerResponse) => void) | undefined;
  readonly #server: Server;

  private constructor(target: string) {
    this.#server = createServer((question, response) => {
      this.asked++;
      if (this.sick !== undefined) return this.sick(response);
      const { url: path = '', headers } = question;
      const options: { headers: IncomingHttpHeaders; method: Dispatcher.HttpMethod } = { headers, method: 'GET' };
      request(new URL(path, target), options)
        .then(async (answer) => {
          const body = Buffer.from(await answer.body.arrayBuffer());
          this.exchanges.push({ path, asked: headers, answered: answer.headers, bytes: body.length });
          const { 'transfer-encoding': _, ...kept } = answer.headers;
          response.writeHead(answer.statusCode, kept).end(body);
        })
        .catch(() => response.destroy());
    });
  }

  /** @param target the server's base URL */
  static async open(target: string): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/eureka`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
