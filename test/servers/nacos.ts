import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, fetch, type RequestInit, type Response } from 'undici';
import { installed } from '#test/servers/cache.js';
import type { Certificates } from '#test/servers/certificates.js';
import { javaArgs } from '#test/servers/java.js';
import { freePorts } from '#test/servers/ports.js';
import { until } from '#test/servers/probes.js';
import { Server, serverFolder, subfolder } from '#test/servers/process.js';

/** The versions of Nacos that can be installed. */
export type NacosVersion = '2.3.2' | '3.1.0';

/** Options of {@link startNacos}. */
export interface NacosOptions {
  /** 2.3.2 if not given. */
  readonly version?: NacosVersion;
  /** Turns authentication on with this user; for 2.3.2 it has to be nacos with password nacos. */
  readonly auth?: { readonly user: string; readonly password: string };
  /** Server properties over the module's own, such as `nacos.core.api.compatibility.admin.enabled`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Turns TLS on for HTTP and gRPC, and off for anybody who comes without it. */
  readonly tls?: Certificates;
  /** The heap's upper bound in MiB; 384 if not given, which serves some ten thousand instances. */
  readonly heapMiB?: number;
}

type Settings = Record<string, string | number | boolean>;

// HTTP at the base, raft below, gRPC for clients and between servers above.
const PORT_OFFSETS = [-1000, 0, 1000, 1001];
const START_TIMEOUT_MS = 180_000;
const OPENS = ['java.util', 'java.lang', 'java.util.concurrent', 'sun.net.util'];

/**
 * A standalone Nacos server with its embedded database, which survives a restart. HTTP listens on
 * loopback; gRPC and raft bind every address, for which the server has no setting.
 */
export class Nacos extends Server {
  readonly version: NacosVersion;
  readonly port: number;
  readonly auth: NacosOptions['auth'];
  readonly #agent: Agent | undefined;

  constructor(port: number, options: NacosOptions) {
    const { version = '2.3.2', auth, tls, settings = {}, heapMiB } = options;
    const folder = serverFolder('nacos');
    const major = version === '2.3.2' ? nacos2(port) : nacos3(port);
    const all: Settings = { ...major.settings, ...authSettings(auth !== undefined), ...tlsSettings(tls), ...settings };
    writeProperties(join(subfolder(folder, 'conf'), 'application.properties'), all);
    const lib = `${installed(major.install)}/lib`;
    super({
      name: `Nacos ${version}`,
      command: 'java',
      args: javaArgs({
        mainClass: major.mainClass,
        // Two jars hold the class com.caucho.hessian...: the server needs the one that comes first here.
        classPath: [join(folder, 'conf'), ...major.classes, `${lib}/hessian-4.0.63.jar`, `${lib}/*`],
        properties: {
          'nacos.standalone': true,
          'nacos.home': folder,
          'nacos.server.ip': '127.0.0.1',
          'nacos.inetutils.ip-address': '127.0.0.1',
        },
        opens: OPENS,
        ...(heapMiB === undefined ? {} : { heapMiB }),
      }),
      folder,
      ready: () => this.#isReady(major.readyPath),
      readyTimeoutMs: START_TIMEOUT_MS,
    });
    this.version = version;
    this.port = port;
    this.auth = auth;
    this.#agent = tls && new Agent({ connect: { ca: readFileSync(tls.ca) } });
  }

  /** The server's address for clients: `127.0.0.1:port`; gRPC is on the port + 1000. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The base of the HTTP API: `http://127.0.0.1:port/nacos`, or https. */
  get url(): string {
    return `${this.#agent === undefined ? 'http' : 'https'}://${this.address}/nacos`;
  }

  /** Asks the HTTP API. @param path within {@link url} */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, { ...init, ...(this.#agent === undefined ? {} : { dispatcher: this.#agent }) });
  }

  async #isReady(path: string): Promise<boolean> {
    try {
      const response = await this.fetch(path, { signal: AbortSignal.timeout(2_000) });
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  /** Waits for the server and, with authentication, also until its user can log in: up to a minute on 3.1.0. */
  override async start(): Promise<this> {
    await super.start().catch(async (error: unknown) => {
      // Its database gives itself some seconds to open, which a busy machine may not keep to.
      if (!this.log().includes('Login timeout exceeded')) throw error;
      await super.start();
    });
    if (this.auth) await until('login at Nacos', () => this.#login(), START_TIMEOUT_MS, 500);
    return this;
  }

  /**
   * An access token of the user.
   *
   * @throws Error when the login is refused or authentication is off
   */
  async accessToken(): Promise<string> {
    const path = this.version === '2.3.2' ? '/v1/auth/login' : '/v3/auth/user/login';
    const { user = '', password = '' } = this.auth ?? {};
    const response = await this.#post(path, { username: user, password });
    const answer: unknown = await response.json();
    if (response.ok && typeof answer === 'object' && answer && 'accessToken' in answer)
      return String(answer.accessToken);
    throw new Error(`login at Nacos answered ${response.status}: ${JSON.stringify(answer)}`);
  }

  async #login(): Promise<boolean> {
    const { password = '' } = this.auth ?? {};
    // 3.x has no user at first; the second time this is refused, which is fine.
    if (this.version !== '2.3.2') await this.#post('/v3/auth/user/admin', { password });
    return (await this.accessToken()) !== '';
  }

  #post(path: string, form: Record<string, string>): Promise<Response> {
    return this.fetch(path, { method: 'POST', body: new URLSearchParams(form) });
  }
}

/** Starts a Nacos server and waits until it can be used; that takes 8 to 30 seconds. */
export async function startNacos(options: NacosOptions = {}): Promise<Nacos> {
  const nacos = new Nacos(await freePorts(PORT_OFFSETS), options);
  try {
    return await nacos.start();
  } catch (error) {
    // It opens its ports seconds after they were found free.
    if (!nacos.log().includes('Address already in use')) throw error;
    return new Nacos(await freePorts(PORT_OFFSETS), options).start();
  }
}

interface Major {
  readonly install: string;
  readonly mainClass: string;
  readonly classes: readonly string[];
  readonly readyPath: string;
  readonly settings: Settings;
}

function nacos2(port: number): Major {
  return {
    install: 'nacos2',
    mainClass: 'com.alibaba.nacos.Nacos',
    classes: [],
    readyPath: '/v1/console/health/readiness',
    settings: { 'server.address': '127.0.0.1', 'server.port': port, 'server.servlet.contextPath': '/nacos' },
  };
}

function nacos3(port: number): Major {
  return {
    install: 'nacos3',
    mainClass: 'NacosServer',
    classes: [join(installed('nacos3'), 'classes')],
    readyPath: '/v3/admin/core/state/readiness',
    settings: {
      'server.address': '127.0.0.1',
      'nacos.server.main.port': port,
      'nacos.server.contextPath': '/nacos',
      'spring.sql.init.platform': 'derby',
      'spring.autoconfigure.exclude': 'org.springframework.boot.autoconfigure.jdbc.DataSourceAutoConfiguration',
    },
  };
}

// 3.x does not start without the type, not even with authentication off.
function authSettings(enabled: boolean): Settings {
  return {
    'nacos.core.auth.enabled': enabled,
    'nacos.core.auth.admin.enabled': enabled,
    'nacos.core.auth.console.enabled': enabled,
    'nacos.core.auth.system.type': 'nacos',
    'nacos.core.auth.plugin.nacos.token.secret.key': Buffer.from('0123456789'.repeat(4)).toString('base64'),
    'nacos.core.auth.server.identity.key': 'pontoon-test',
    'nacos.core.auth.server.identity.value': 'pontoon-test',
  };
}

function tlsSettings(tls: Certificates | undefined): Settings {
  if (tls === undefined) return {};
  const grpc = 'nacos.remote.server.rpc.tls';
  return {
    'server.ssl.enabled': true,
    'server.ssl.certificate': `file:${tls.cert}`,
    'server.ssl.certificate-private-key': `file:${tls.key}`,
    [`${grpc}.enableTls`]: true,
    [`${grpc}.compatibility`]: false,
    [`${grpc}.certChainFile`]: `file:${tls.cert}`,
    [`${grpc}.certPrivateKey`]: `file:${tls.key}`,
  };
}

function writeProperties(file: string, settings: Settings): void {
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([key, value]) => `${key}=${value}\n`)
      .join(''),
  );
}
