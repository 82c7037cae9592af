import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { HostPlan, Plan } from '#admin/plan.js';
import { reasonOf } from '#model/reason.js';
import { type ApiOptions, ask, CommandError } from './api.js';

/** Status of a plan that changes something. */
const changesStatus = 2;
/** Endpoints of one host that are printed; the rest is counted. */
const most = 10;

/** `pontoon plan`: what another configuration would change in a running Pontoon. Exits with 0 if nothing, 2 if something, 1 if it cannot be told. */
export async function plan(options: ApiOptions & { readonly json?: boolean }): Promise<void> {
  let text: string;
  try {
    text = readFileSync(options.config, 'utf8');
  } catch (error) {
    throw new CommandError(`${options.config} cannot be read: ${reasonOf(error)}`);
  }
  const path = `plan?file=${encodeURIComponent(resolve(options.config))}`;
  const headers = { 'content-type': 'application/yaml' };
  const found = (await ask(options, path, { method: 'POST', headers, body: text })) as Plan;
  process.stdout.write(options.json ? `${JSON.stringify(found, null, 2)}\n` : report(found));
  if (hasChanges(found)) process.exitCode = changesStatus;
  else if (found.unread.length > 0) process.exitCode = 1;
}

function hasChanges({ registries, hosts, writes, restart, lost }: Plan): boolean {
  const sources = Object.values(registries).flat().length;
  return sources + hosts.length + writes.length + lost.length > 0 || restart !== undefined;
}

function report(found: Plan): string {
  const { registries, unread, restart, hosts, writes, lost } = found;
  const lines: string[] = [];
  for (const [what, names] of Object.entries(registries))
    if (names.length > 0) lines.push(`registries ${what}: ${names.join(', ')}`);
  for (const name of unread) lines.push(`registry ${name} has not been read: what it would add is not known`);
  if (!hasChanges(found)) return [...lines, 'nothing changes'].join('\n').concat('\n');
  if (restart !== undefined) lines.push(restart);
  for (const host of hosts) lines.push(...ofHost(host));
  for (const { id, reason } of lost) lines.push(`- ${id}: ${reason}`);
  for (const { publication, service, host, text } of writes)
    lines.push(`${service.registry}: ${service.name} (${host}, ${publication}): ${text}`);
  const full = hosts.filter(({ push }) => push === 'full').length;
  lines.push(
    '',
    `${hosts.length} hosts change: ${full} with a full push, ${hosts.length - full} with their endpoints only`,
  );
  if (writes.length > 0) lines.push(`${writes.length} services are written into registries`);
  return `${lines.join('\n')}\n`;
}

function ofHost({ host, text, endpoints, push }: HostPlan): string[] {
  const sign = text.startsWith('appeared') ? '+' : text.startsWith('removed') ? '-' : '~';
  const shown = endpoints.slice(0, most).map((one) => `    ${one.endpoint} ${one.text}`);
  const more = endpoints.length > most ? [`    and ${endpoints.length - most} more`] : [];
  return [`${sign} ${host}: ${text} (${push} push)`, ...shown, ...more];
}
