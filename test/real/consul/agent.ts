import { z } from 'zod';
import { fields } from '#adapters/consul/schema.js';
import { ConsulSource } from '#adapters/consul/source.js';
import { contextOf, type Running, run } from '#test/real/recorder.js';

/** Reads real agents with short times, and the given configuration. */
export function read(servers: readonly string[], more: object = {}): Running {
  const config = z.object(fields).parse({ servers, wait: '5s', timeout: '1s', ...more });
  return run(new ConsulSource(config, contextOf('co')));
}

/** What a test registers at a real agent. */
export interface TestService {
  readonly id: string;
  readonly name: string;
  readonly port?: number;
  readonly address?: string;
  readonly tags?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
  readonly weights?: { readonly passing: number; readonly warning: number };
  readonly kind?: string;
  /** Status of its one check, set by the test; without it there is none. */
  readonly check?: 'passing' | 'warning' | 'critical';
}

/** The writing side of a real agent's HTTP API. */
export class TestAgent {
  readonly #url: string;
  readonly #token: string;

  constructor(url: string, token = '') {
    this.#url = url;
    this.#token = token;
  }

  register({
    id,
    name,
    port = 80,
    address = '',
    tags = [],
    meta = {},
    weights,
    kind,
    check,
  }: TestService): Promise<string> {
    return this.send('PUT', '/v1/agent/service/register', {
      ID: id,
      Name: name,
      Port: port,
      Address: address,
      Tags: tags,
      Meta: meta,
      ...(weights === undefined ? {} : { Weights: { Passing: weights.passing, Warning: weights.warning } }),
      ...(kind === undefined ? {} : { Kind: kind, Proxy: { DestinationServiceName: name } }),
      ...(check === undefined ? {} : { Check: { CheckID: `check-${id}`, TTL: '1h', Status: check } }),
    });
  }

  check(id: string, status: 'passing' | 'warning' | 'critical'): Promise<string> {
    return this.send('PUT', `/v1/agent/check/update/check-${id}`, { Status: status });
  }

  deregister(id: string): Promise<string> {
    return this.send('PUT', `/v1/agent/service/deregister/${id}`);
  }

  /** Puts an instance, or with no id the whole node, into maintenance or out of it. */
  maintenance(enable: boolean, id?: string): Promise<string> {
    return this.send(
      'PUT',
      `/v1/agent/${id === undefined ? '' : `service/`}maintenance${id === undefined ? '' : `/${id}`}?enable=${enable}`,
    );
  }

  /** Sends a request; what was answered. @throws Error if the status is not 200 */
  async send(method: string, path: string, body?: object): Promise<string> {
    const response = await fetch(this.#url + path, {
      method,
      headers: this.#token === '' ? {} : { 'x-consul-token': this.#token },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status} ${text}`);
    return text;
  }
}
