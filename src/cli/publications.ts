import { setTimeout as sleep } from 'node:timers/promises';
import type { PublicationsReport } from '#admin/publications.js';
import type { OrderScope } from '#publish/orders.js';
import { type ApiOptions, ask, CommandError } from './api.js';

const poll = 500;

interface OrderOptions extends ApiOptions, OrderScope {}

/** `pontoon withdraw`: takes back what was published, in all replicas, and waits until it is gone. */
export async function withdraw(options: OrderOptions & { readonly timeout: string }): Promise<void> {
  const seconds = Number(options.timeout);
  if (!(seconds > 0)) throw new CommandError(`--timeout ${options.timeout} is not a number of seconds`);
  const { registry, publication } = options;
  if (registry !== undefined && publication !== undefined)
    throw new CommandError('say a registry or a publication: a publication goes into one registry');
  const before = await report(options);
  await order(options, 'withdraw', { registry, publication });
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const now = await report(options);
    const left = standing(now, before, { registry, publication });
    if (left === 0) break;
    if (performance.now() > end)
      throw new CommandError(`${left} instances still stand after ${seconds} s: ${trouble(now)}`);
    await sleep(poll);
  }
  process.stdout.write('nothing of it stands any more; it stays so until pontoon resume\n');
}

/** `pontoon pause`: leaves a publication, or one service, as it stands. */
export async function pause(options: OrderOptions): Promise<void> {
  const { publication, service } = options;
  if (publication === undefined && service === undefined) throw new CommandError('say --publication or --service');
  await order(options, 'pause', { publication, service });
  process.stdout.write('paused in all replicas: what stands stays as it is until pontoon resume\n');
}

/** `pontoon resume`: ends what was paused or withdrawn. */
export async function resume(options: OrderOptions): Promise<void> {
  const { registry, publication, service } = options;
  await order(options, 'resume', { registry, publication, service });
  process.stdout.write('resumed in all replicas\n');
}

async function order(options: ApiOptions, what: string, scope: OrderScope): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  await ask(options, `publications/${what}`, { method: 'POST', headers, body: JSON.stringify(scope) });
}

async function report(options: ApiOptions): Promise<PublicationsReport> {
  return (await ask(options, 'publications')) as PublicationsReport;
}

/** Instances that are to go and are still there. */
function standing(
  now: PublicationsReport,
  before: PublicationsReport,
  { registry, publication }: Pick<OrderScope, 'registry' | 'publication'>,
): number {
  const to = before.publications.find(({ name }) => name === publication)?.to;
  const targets = now.targets.filter((target) => {
    if (publication !== undefined) return target.registry === to;
    return registry === undefined || target.registry === registry;
  });
  return targets.reduce(
    (sum, { placed, instances }) => sum + (publication === undefined ? instances : (placed[publication] ?? 0)),
    0,
  );
}

function trouble({ targets }: PublicationsReport): string {
  const texts = targets.flatMap(({ registry, state, reason }) =>
    state === 'writing' || state === 'idle'
      ? []
      : [`${registry} is ${state}${reason === undefined ? '' : `: ${reason}`}`],
  );
  return texts.join('; ') || 'it goes on';
}
