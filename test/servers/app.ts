import { until } from '#test/servers/probes.js';
import { Server } from '#test/servers/process.js';

const ASK_TIMEOUT_MS = 20_000;

/**
 * A client application of ours in another language, which prints `@ready ...` when it is there and
 * answers a line `ID TEXT` on its standard input with a line `@ID ok ANSWER` or `@ID error MESSAGE`.
 */
export abstract class App extends Server {
  #asked = 0;

  /** What stands behind `@ready` in the log; undefined until it is there. */
  protected readyLine(): string | undefined {
    return this.#answer('ready');
  }

  /**
   * Asks the application and resolves with its answer.
   *
   * @throws Error with the application's message, or when there is no answer in 20 seconds
   */
  protected async ask(text: string): Promise<string> {
    const id = String(++this.#asked);
    this.writeLine(`${id} ${text}`);
    await until(`answer to "${text}"`, () => this.#answer(id) !== undefined, ASK_TIMEOUT_MS, 10);
    const [, outcome, answer = ''] = /^(ok|error) ?(.*)$/.exec(this.#answer(id) ?? '') ?? [];
    if (outcome === 'ok') return answer;
    throw new Error(answer);
  }

  #answer(id: string): string | undefined {
    const line = this.log().match(new RegExp(`^@${id}\\b ?(.*)\\n`, 'm'));
    return line?.[1];
  }
}

/** The options that are given, as `key=value` arguments. */
export function keyValues(options: Readonly<Record<string, string | number | boolean | undefined>>): string[] {
  return Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]));
}
