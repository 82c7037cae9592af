import { z } from 'zod';
import { HttpError, type HttpServers, parseJson } from '#sources/http.js';
import type { NacosConfig } from './schema.js';

/** Where user and password are exchanged for a token: Nacos 3, and 1 and 2. */
const paths = ['/v3/auth/user/login', '/v1/auth/login'];

/** Seconds are what Nacos gives; with authentication off it is a date in seconds, which is as good as never. */
const answer = z.object({ accessToken: z.string().min(1), tokenTtl: z.number().positive() });

/**
 * The access token of a user. It is fetched when it is first asked for, kept, and renewed when a tenth of its life is left.
 * See https://nacos.io/en/docs/next/guide/user/auth/
 */
export class Login {
  readonly #http: HttpServers;
  readonly #auth: NonNullable<NacosConfig['auth']>;
  #current: { readonly token: string; readonly renewAt: number } | undefined;
  #pending: Promise<string> | undefined;

  /** @param auth without a user in it there is no token */
  constructor(http: HttpServers, auth: NonNullable<NacosConfig['auth']>) {
    this.#http = http;
    this.#auth = auth;
  }

  /**
   * Asks with the token, and once more with a fresh one if that is refused: tokens end early when servers restart with another key.
   * @param ask is given no token if no user is configured
   * @param isRefusal whether an error of `ask` is about the token
   * @throws Error that says what the server answered, if there is no token to be had; or the error of `ask`
   */
  async use<Answer>(
    signal: AbortSignal,
    isRefusal: (error: unknown) => boolean,
    ask: (token: string | undefined) => Promise<Answer>,
  ): Promise<Answer> {
    const token = await this.#token(signal);
    try {
      return await ask(token);
    } catch (error) {
      if (token === undefined || !isRefusal(error)) throw error;
      if (this.#current?.token === token) this.#current = undefined;
      return await ask(await this.#token(signal));
    }
  }

  async #token(signal: AbortSignal): Promise<string | undefined> {
    const { username, password } = this.#auth;
    if (username === undefined || password === undefined) return undefined;
    if (this.#current !== undefined && performance.now() < this.#current.renewAt) return this.#current.token;
    this.#pending ??= this.#login(username, password.reveal(), signal).finally(() => {
      this.#pending = undefined;
    });
    return await this.#pending;
  }

  async #login(username: string, password: string, signal: AbortSignal): Promise<string> {
    const failed = (reason: string, cause?: unknown) =>
      new Error(`login as "${username}" failed (check user name and password): ${reason}`, { cause });
    const body = new URLSearchParams({ username, password }).toString();
    for (const path of paths) {
      try {
        const response = await this.#http.request(path, {
          signal,
          method: 'POST',
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
          body,
        });
        if (response.status === 404 || response.status === 410) continue;
        if (response.status !== 200)
          throw failed(
            `${response.server}${path} answered ${response.status} ${response.body.toString().slice(0, 200)}`,
          );
        const { accessToken, tokenTtl } = answer.parse(parseJson(response.body, response.server + path));
        this.#current = { token: accessToken, renewAt: performance.now() + tokenTtl * 900 };
        return accessToken;
      } catch (error) {
        if (error instanceof HttpError && isAnswer(error)) throw failed(error.message, error);
        throw error;
      }
    }
    throw failed('the servers have no login');
  }
}

/** Nacos 3 answers a wrong password with the status 500, and Nacos 2.3 with 0, which is no HTTP. */
function isAnswer({ status, cause }: HttpError): boolean {
  return status !== undefined || (cause instanceof Error && cause.name === 'HTTPParserError');
}
