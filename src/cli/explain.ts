import type { Explanation, Explanations, InstanceExplanation } from '#admin/explain.js';
import type { Step } from '#policy/trace.js';
import { type ApiOptions, ask } from './api.js';

/** `pontoon explain WHAT`: asks a running Pontoon why the mesh sees what it sees. Exits with 1 if nothing is known of it. */
export async function explain(what: string, options: ApiOptions & { readonly json?: boolean }): Promise<void> {
  const found = (await ask(options, `explain?q=${encodeURIComponent(what)}`)) as Explanations;
  process.stdout.write(options.json ? `${JSON.stringify(found, null, 2)}\n` : text(found));
  if (found.found.length === 0) process.exitCode = 1;
}

function text({ asked, found, remarks }: Explanations): string {
  const parts = found.map(ofService);
  return [...parts, ...remarks.map((remark) => `${asked}: ${remark}\n`)].join('\n');
}

function ofService({ service, steps, instances }: Explanation): string {
  const { registry, namespace, group, name, version } = service;
  const more = Object.entries({ namespace, group, version }).filter(([, value]) => value !== '');
  const title = [`${name} in ${registry}`, ...more.map(([key, value]) => `${key} ${value}`)].join(', ');
  return [title, ...steps.map(line), ...instances.flatMap(ofInstance), ''].join('\n');
}

function ofInstance({ id, address, steps, outcome }: InstanceExplanation): string[] {
  return [`  ${address === '' ? id : `${address} (${id})`}: ${outcome}`, ...steps.map((step) => `  ${line(step)}`)];
}

function line({ step, result, rule }: Step): string {
  return `  ${step.padEnd(10)} ${result}   [${rule}]`;
}
