import { hostPortText } from '#config/fields.js';
import { ConfigError, loadConfig } from '#config/load.js';
import { reasonOf } from '#model/reason.js';

/** How a command finds the Pontoon that runs. */
export interface ApiOptions {
  readonly config: string;
  /** Base URL; that of the configuration's `admin.listen` unless given. */
  readonly url?: string;
}

/** Ends a command with a message and the status of failure. */
export class CommandError extends Error {}

/**
 * Asks a running Pontoon.
 * @throws CommandError that says what to do, if there is none or it refuses
 */
export async function ask(options: ApiOptions, path: string, init: RequestInit = {}): Promise<unknown> {
  return (await answerOf(options, path, init)).json();
}

/** Asks a running Pontoon for something that is not JSON. @throws CommandError as {@link ask} */
export async function askBytes(options: ApiOptions, path: string): Promise<Buffer> {
  return Buffer.from(await (await answerOf(options, path, {})).arrayBuffer());
}

async function answerOf(options: ApiOptions, path: string, init: RequestInit): Promise<Response> {
  const url = apiUrl(options);
  let response: Response;
  try {
    response = await fetch(new URL(`/api/v1/${path}`, url), init);
  } catch (error) {
    const reason = error instanceof Error && error.cause !== undefined ? reasonOf(error.cause) : reasonOf(error);
    throw new CommandError(`no Pontoon answers at ${url}: ${reason}; say --url where it listens (admin.listen)`);
  }
  if (response.ok) return response;
  const answer: unknown = await response.json().catch(() => undefined);
  const { message, error } = (answer ?? {}) as { readonly message?: string; readonly error?: string };
  const refusal = message ?? error ?? `status ${response.status}`;
  throw new CommandError(`${url} answered: ${refusal}`);
}

/** Where the running Pontoon is asked. */
export function apiUrl({ url, config }: ApiOptions): string {
  if (url !== undefined) return url;
  const { host, port } = read(config).admin.listen;
  const own = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${hostPortText({ host: own, port })}`;
}

/** Reads a configuration for a command. @throws CommandError with all that is wrong with it */
export function read(file: string) {
  try {
    return loadConfig(file);
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandError(error.message);
    throw error;
  }
}

/** Runs a command, and prints why it cannot be done. @param failed the exit status then */
export function command<Args extends unknown[]>(action: (...args: Args) => Promise<void>, failed = 1) {
  return async (...args: Args): Promise<void> => {
    try {
      await action(...args);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exitCode = failed;
    }
  };
}
