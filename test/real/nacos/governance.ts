import type { Nacos } from '#test/servers/nacos.js';

/** What an operator of Dubbo on Nacos does: writes rules into the config centre, and edits instances. */
export class Governance {
  readonly #nacos: Nacos;

  constructor(nacos: Nacos) {
    this.#nacos = nacos;
  }

  /** Writes a document. */
  async publish(dataId: string, content: string, group = 'dubbo'): Promise<void> {
    await this.#send('POST', this.#configs, { ...this.#document(dataId, group), content, type: 'text' });
  }

  async remove(dataId: string): Promise<void> {
    await this.#send('DELETE', this.#configs, this.#document(dataId, 'dubbo'));
  }

  /** Gives an ephemeral instance `ip:port` another weight, keeping its metadata. */
  async setWeight(
    serviceName: string,
    address: string,
    weight: number,
    metadata: Readonly<Record<string, string>>,
  ): Promise<void> {
    const [ip = '', port = ''] = address.split(':');
    const service = { namespaceId: 'public', groupName: 'DEFAULT_GROUP', serviceName };
    await this.#send('PUT', this.#isOld ? '/v1/ns/instance' : '/v3/admin/ns/instance', {
      ...service,
      ...{ ip, port, weight: `${weight}`, ephemeral: 'true', clusterName: 'DEFAULT', enabled: 'true' },
      metadata: JSON.stringify(metadata),
    });
  }

  #document(dataId: string, group: string): Record<string, string> {
    return this.#isOld ? { dataId, group } : { dataId, groupName: group, namespaceId: 'public' };
  }

  get #isOld(): boolean {
    return this.#nacos.version === '2.3.2';
  }

  get #configs(): string {
    return this.#isOld ? '/v1/cs/configs' : '/v3/admin/cs/config';
  }

  async #send(method: string, path: string, fields: Record<string, string>): Promise<void> {
    const query = new URLSearchParams(fields);
    const url = `${this.#nacos.url}${path}`;
    const response = await (method === 'POST'
      ? fetch(url, { method, body: query })
      : fetch(`${url}?${query}`, { method }));
    if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
  }
}
