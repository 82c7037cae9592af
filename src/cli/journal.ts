import { duration } from '#config/fields.js';
import type { Entry } from '#journal/entry.js';
import { type ApiOptions, ask, CommandError } from './api.js';

interface JournalOptions extends ApiOptions {
  readonly host?: string;
  readonly instance?: string;
  readonly registry?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit?: string;
  readonly json?: boolean;
}

/** Endpoints of one entry that are printed; the rest is counted. */
const most = 20;

/** `pontoon journal`: what changed in a running Pontoon, the newest first. */
export async function journal(options: JournalOptions): Promise<void> {
  const { host, instance, registry, limit } = options;
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries({ host, instance, registry, limit })) if (value) query.set(key, value);
  for (const key of ['since', 'until'] as const) {
    const text = options[key];
    if (text !== undefined) query.set(key, String(timeOf(text, key)));
  }
  const entries = (await ask(options, `journal?${query}`)) as Entry[];
  process.stdout.write(options.json ? `${JSON.stringify(entries, null, 2)}\n` : entries.map(lines).join(''));
}

/** ms since 1970. */
function timeOf(text: string, option: string): number {
  const passed = duration().safeParse(text);
  if (passed.success) return Date.now() - passed.data;
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw new CommandError(`--${option} ${text}: expected a time such as 2026-11-23T14:02, or a duration such as 30m`);
  return time;
}

function lines({ at, host, registry, cause, text, endpoints }: Entry): string {
  const from = registry === '' ? cause : `${registry}, ${cause}`;
  const first = `${new Date(at).toISOString()}  ${host === '' ? '-' : host}  ${text}  (${from})\n`;
  const shown = endpoints.slice(0, most).map((one) => `    ${one.endpoint} ${one.text}\n`);
  const more = endpoints.length > most ? `    and ${endpoints.length - most} more\n` : '';
  return first + shown.join('') + more;
}
