import type { ResourceReport } from '#admin/report.js';
import { examine, statusOf } from '#doctor/examine.js';
import type { Finding } from '#doctor/finding.js';
import type { Running } from '#doctor/patient.js';
import { type ApiOptions, apiUrl, ask, CommandError, read } from './api.js';
import { fragmentOf } from './meshconfig.js';

interface Options extends ApiOptions {
  readonly istiod?: readonly string[];
  readonly json?: boolean;
  /** Seconds for a single question. */
  readonly timeout: string;
}

/**
 * `pontoon doctor`: checks the registries, the listeners, istiods and what is around them, says what to do, and prints the fragment for istiod's meshConfig. Exits
 * with 0 if all is well, 1 if anything failed, 2 if something cannot be told.
 */
export async function doctor(options: Options): Promise<void> {
  const config = read(options.config);
  const limitMs = Number(options.timeout) * 1000;
  if (!(limitMs > 0)) throw new CommandError(`--timeout ${options.timeout}: expected seconds`);
  const istiods = options.istiod ?? [];
  for (const url of istiods)
    if (!/^https?:\/\//.test(url) || !URL.canParse(url))
      throw new CommandError(`--istiod ${url}: expected http://host:port`);
  const { running, pontoon } = await findPontoon(options);
  const findings = [pontoon, ...(await examine({ config, running, istiods, limitMs }))];
  const ports = running?.doors.listeners.map(({ open }) => open.map(({ port }) => port)) ?? [];
  const fragment = fragmentOf(config, ports);
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ status: statusOf(findings), findings, meshConfig: fragment }, null, 2)}\n`
      : report(findings, fragment),
  );
  process.exitCode = statusOf(findings);
}

/** What the running Pontoon says of itself, if there is one. */
async function findPontoon(options: ApiOptions): Promise<{ running: Running | undefined; pontoon: Finding }> {
  const subject = 'pontoon';
  const get = <T>(path: string) => ask(options, path) as Promise<T>;
  try {
    const [registries, clients, doors, state, guards, resources] = await Promise.all([
      get<Running['registries']>('registries'),
      get<Running['clients']>('clients'),
      get<Running['doors']>('doors'),
      get<Running['state']>('state'),
      get<Running['guards']>('guards'),
      get<Running['resources']>('istio/resources'),
    ]);
    const url = apiUrl(options);
    const resourcesNow = () => get<readonly ResourceReport[]>('istio/resources');
    const running = { url, registries, clients, doors, state, guards, resources, resourcesNow };
    return { running, pontoon: { verdict: 'ok', subject, found: `running, ${url}` } };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    // Who names its address means one that runs.
    const verdict = options.url === undefined ? 'warn' : 'unknown';
    const advice = 'start it, to have listeners, guards and the catalog looked at, too';
    return { running: undefined, pontoon: { verdict, subject, found: error.message, advice } };
  }
}

function report(findings: readonly Finding[], fragment: string): string {
  const lines = findings.map(line);
  const counts = (['ok', 'warn', 'fail', 'unknown'] as const)
    .map((verdict) => `${findings.filter((one) => one.verdict === verdict).length} ${verdict}`)
    .join(', ');
  return `${lines.join('\n')}\n\n${counts}\n\n${fragment}`;
}

function line({ verdict, subject, found, expected, advice }: Finding): string {
  const more = [expected === undefined ? '' : `expected ${expected}`, advice ?? ''].filter((part) => part !== '');
  return `${verdict.padEnd(8)}${[`${subject}: ${found}`, ...more].join('; ')}`;
}
