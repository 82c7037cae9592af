import type { TargetUnderTest } from '#test/real/contract/target.js';
import { type Nacos, type NacosVersion, startNacos } from '#test/servers/nacos.js';
import { Registrations } from './registrations.js';

/** A real Nacos server that is written to over HTTP, for the suite that all targets share. */
export class NacosTargetUnderTest implements TargetUnderTest {
  readonly title: string;
  readonly type = 'nacos';
  readonly needs: readonly string[];
  readonly settings = { beatInterval: '1s' };
  readonly settingsOfMany = { beatInterval: '60s' };
  readonly survives = false;
  // Six beats, and the server's own pause between two looks.
  readonly lease = 11_000;
  readonly untakeable = { metadata: { text: 'x'.repeat(1_100) } };
  readonly weights = [1, 0.37] as const;
  readonly #version: NacosVersion;
  #server: Nacos | undefined;

  constructor(version: NacosVersion) {
    this.title = `Nacos ${version} over HTTP`;
    this.needs = [version === '2.3.2' ? 'nacos2' : 'nacos3'];
    this.#version = version;
  }

  async start(): Promise<void> {
    this.#server = await startNacos({ version: this.#version, heapMiB: 768 });
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
  }

  server() {
    return { process: this.#nacos, port: this.#nacos.port, offsets: [1_000] };
  }

  keys(port: number) {
    return { servers: [`127.0.0.1:${port}`] };
  }

  async foreign(service: string, address: string, port: number): Promise<void> {
    await new Registrations(this.#nacos).register({ service, ip: address, port });
  }

  get #nacos(): Nacos {
    if (this.#server === undefined) throw new Error('not started');
    return this.#server;
  }
}
