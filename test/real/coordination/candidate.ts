import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { loadConfig } from '#config/load.js';
import { openCoordination } from '#coordination/coordination.js';

// A program of its own: candidate.js CONFIG ROLE. It says what it hears and, while it leads, that it acts. Times are of a clock that all processes share.
const now = () => Number(process.hrtime.bigint() / 1_000n) / 1_000;
const say = (what: string) => process.stdout.write(`${now().toFixed(3)} ${what}\n`);

const [file = '', role = ''] = process.argv.slice(2);
const { coordination: config, registries } = loadConfig(file);
const coordination = openCoordination(config, { log: pino({ level: 'warn' }), registries });
const candidacy = coordination.campaign(role, (isLeader) => say(isLeader ? 'leads' : 'follows'));
const acting = new AbortController();
process.once('SIGTERM', () => {
  acting.abort();
  void coordination.close().then(() => say('closed'));
});
say('candidate');
while (!acting.signal.aborted) {
  if (candidacy.isLeader) say('acts');
  await sleep(20, undefined, { signal: acting.signal }).catch(() => undefined);
}
