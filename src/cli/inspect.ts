import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import type { RegistryReport, RegistryServiceSummary, RejectedRecord, ServiceNote } from '#admin/report.js';
import type { Config } from '#config/schema.js';
import { compareText } from '#model/mesh.js';
import { startPontoon } from '../main.js';
import { CommandError, read } from './api.js';
import { columns } from './columns.js';

interface Options {
  readonly config: string;
  readonly json?: boolean;
  /** Seconds. */
  readonly timeout: string;
}

/** What a registry holds, and what becomes of it. */
interface Findings {
  readonly registry: RegistryReport;
  readonly services: readonly RegistryServiceSummary[];
  readonly notes: readonly ServiceNote[];
  readonly rejected: readonly RejectedRecord[];
}

/**
 * `pontoon inspect REGISTRY`: reads one registry of a configuration, prints what it holds, what becomes of it and what of it cannot be used, and ends. Exits with 1 if it
 * cannot be read in time.
 */
export async function inspect(name: string, options: Options): Promise<void> {
  const config = read(options.config);
  const names = config.registries.map((registry) => registry.name);
  if (!names.includes(name))
    throw new CommandError(`${options.config}: no registry is named "${name}"; there are ${names.join(', ')}`);
  const findings = await findingsOf(alone(config, name), name, Number(options.timeout) * 1000);
  process.stdout.write(options.json ? `${JSON.stringify(findings, null, 2)}\n` : table(findings));
  if (!findings.registry.complete) process.exitCode = 1;
}

/** The configuration with one registry only, that serves nobody but us. */
function alone(config: Config, name: string): Config {
  const registries = config.registries.filter((registry) => registry.name === name);
  const listen = { host: '127.0.0.1', port: 0 };
  return {
    ...config,
    registries: registries.map((registry) => ({ ...registry, required: true })),
    istio: { ...config.istio, xds: [], kubernetes: undefined, files: undefined, serve: undefined },
    admin: { listen },
    publications: [],
    state: { owner: config.state.owner, peers: [] },
    coordination: undefined,
  };
}

async function findingsOf(config: Config, name: string, timeoutMs: number): Promise<Findings> {
  const pontoon = await startPontoon(config, pino({ level: 'silent' }));
  try {
    const get = async (path: string): Promise<unknown> => (await fetch(`${pontoon.adminUrl}/api/v1/${path}`)).json();
    const registry = `registries/${encodeURIComponent(name)}`;
    const report = async () => (await get(registry)) as RegistryReport;
    for (const end = performance.now() + timeoutMs; performance.now() < end && !(await report()).complete; )
      await sleep(50);
    return {
      registry: await report(),
      services: (await get(`${registry}/services`)) as RegistryServiceSummary[],
      notes: (await get(`${registry}/notes`)) as ServiceNote[],
      rejected: (await get(`${registry}/rejected`)) as RejectedRecord[],
    };
  } finally {
    await pontoon.stop();
  }
}

function table({ registry, services, notes, rejected }: Findings): string {
  const { registry: name, type, state, error } = registry;
  const sections = [
    [
      ['SERVICE', 'NAMESPACE', 'GROUP', 'VERSION', 'HOST', 'PORTS', 'INSTANCES', 'SERVING', 'WITHOUT TRAFFIC'],
      ...services.map(row),
    ],
    [['NOTE ON', 'RECORD', 'NOTE'], ...notes.map(({ service, record, text }) => [service.name, record, text])],
    [
      ['REJECTED OF', 'RECORD', 'REASON'],
      ...rejected.map(({ service, record, reason }) => [service?.name ?? '', record, reason]),
    ],
  ];
  return [
    `${name} (${type}): ${state}${error === undefined ? '' : `, ${error}`}`,
    `${registry.services} services, ${registry.instances} instances, ${registry.leftOut} of them without traffic, ${notes.length} notes, ${rejected.length} records that cannot be used`,
    ...sections.flatMap((rows) => (rows.length === 1 ? [] : ['', ...columns(rows)])),
    '',
  ].join('\n');
}

function row({ key, host = '(none)', ports, instances, serving, leftOut }: RegistryServiceSummary): string[] {
  const reasons = Object.entries(leftOut)
    .sort(([a], [b]) => compareText(a, b))
    .map(([reason, count]) => `${count} ${reason}`);
  const numbers = ports.map((port) => `${port.number} ${port.name}`).join(', ');
  const { name, namespace, group, version } = key;
  return [name, namespace, group, version, host, numbers, String(instances), String(serving), reasons.join(', ')];
}
