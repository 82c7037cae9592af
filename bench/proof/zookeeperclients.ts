import { setTimeout as sleep } from 'node:timers/promises';
import zookeeper from 'node-zookeeper-client';
import { type Service, slowMs } from './services.js';

const sessionMs = 10_000;

type Session = ReturnType<typeof zookeeper.createClient>;

/**
 * What Curator's service discovery does for an application of Spring Cloud: keeps its instances registered in ephemeral znodes, and registers them in a new session when the
 * old one has expired or no server has been there for as long; a slow one takes its time for that.
 */
export class ZookeeperClient {
  readonly #server: string;
  readonly #service: Service;
  #session: Session | undefined;
  #lost: NodeJS.Timeout | undefined;

  /** @param server `host:port` */
  constructor(server: string, service: Service) {
    this.#server = server;
    this.#service = service;
  }

  /** Registers the instances. */
  start(): Promise<void> {
    return this.#open(0);
  }

  stop(): void {
    clearTimeout(this.#lost);
    this.#session?.removeAllListeners();
    this.#session?.close();
  }

  async #open(pauseMs: number): Promise<void> {
    this.stop();
    const session = zookeeper.createClient(this.#server, { sessionTimeout: sessionMs, spinDelay: 500 });
    this.#session = session;
    const again = () => void this.#open(this.#service.slow ? slowMs : 0);
    session.on('expired', again);
    session.on('disconnected', () => {
      this.#lost = setTimeout(again, sessionMs);
    });
    session.on('connected', () => clearTimeout(this.#lost));
    await new Promise<void>((resolve) => {
      session.once('connected', () => resolve());
      session.connect();
    });
    await sleep(pauseMs);
    for (const address of this.#service.addresses) await create(session, this.#service.name, address);
  }
}

function create(session: Session, name: string, id: string): Promise<void> {
  const [address = '', port] = id.split(':');
  const type = 'org.springframework.cloud.zookeeper.discovery.ZookeeperInstance';
  const payload = { '@class': type, id, name, metadata: { instance_status: 'UP' } };
  const rest = { sslPort: null, registrationTimeUTC: Date.now(), serviceType: 'DYNAMIC', uriSpec: null };
  const data = Buffer.from(JSON.stringify({ name, id, address, port: Number(port), payload, ...rest }));
  return new Promise((resolve, reject) =>
    session.mkdirp(`/services/${name}`, (failed) => {
      if (failed) return reject(failed);
      session.create(`/services/${name}/${id}`, data, zookeeper.CreateMode.EPHEMERAL, (error) =>
        error ? reject(error) : resolve(),
      );
    }),
  );
}
