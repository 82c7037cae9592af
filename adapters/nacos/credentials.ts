import type { HttpServers } from '#sources/http.js';
import { Login } from './login.js';
import type { NacosConfig } from './schema.js';
import { type Resource, signed } from './signature.js';

type Fields = Readonly<Record<string, string>>;

/** What a request carries so that the server lets it in; empty where nothing of the kind is configured. */
export interface Proof {
  /** The token of a user who has logged in. */
  readonly token: string | undefined;
  /** The header by which the servers of one cluster know each other. Over gRPC they take it among themselves only. */
  readonly identity: Fields;
  /** Signed with the secret key. */
  readonly signature: Fields;
}

/** All ways to be let in: user and password, access key and secret key, the servers' own identity. Those that are configured go together. */
export class Credentials {
  readonly #auth: NonNullable<NacosConfig['auth']>;
  readonly #login: Login;

  /** @param auth without it requests carry nothing */
  constructor(http: HttpServers, auth: NacosConfig['auth']) {
    this.#auth = auth ?? {};
    this.#login = new Login(http, this.#auth);
  }

  /**
   * Asks with all that is configured, and once more with a fresh token if the first is refused.
   * @param isRefusal whether an error of `ask` is about the token
   * @throws Error of the login, or of `ask`
   */
  use<Answer>(
    resource: Resource,
    signal: AbortSignal,
    isRefusal: (error: unknown) => boolean,
    ask: (proof: Proof) => Promise<Answer>,
  ): Promise<Answer> {
    return this.#login.use(signal, isRefusal, (token) =>
      ask({ token, identity: this.#identity(), signature: this.#signature(resource) }),
    );
  }

  #identity(): Fields {
    const { identity } = this.#auth;
    return identity === undefined ? {} : { [identity.key]: identity.value.reveal() };
  }

  #signature(resource: Resource): Fields {
    const { accessKey, secretKey, region } = this.#auth;
    if (accessKey === undefined || secretKey === undefined) return {};
    return signed(resource, { accessKey, secretKey: secretKey.reveal(), region }, Date.now());
  }
}
