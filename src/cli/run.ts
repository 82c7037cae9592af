import { watch } from 'node:fs';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { ConfigError, loadConfig } from '#config/load.js';
import type { Config } from '#config/schema.js';
import { reasonOf } from '#model/reason.js';
import { createLog } from '../log.js';
import { type Pontoon, startPontoon } from '../main.js';
import { fragmentOf } from './meshconfig.js';

/** ms without a further change until a changed configuration is read. */
const settleMs = 300;
/** ms that all parts together have to end. */
const longestStop = 5_000;

/** `pontoon run`: the bridge, until SIGTERM or SIGINT. */
export async function run(options: { config: string }): Promise<void> {
  let config: Config;
  try {
    config = loadConfig(options.config);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
    return;
  }
  const log = createLog(config.log);
  // A library's stray rejection is that source's trouble: what is known stays in use, and its watchdog shows it.
  process.on('unhandledRejection', (reason) => log.error({ err: reason }, 'unhandled rejection'));
  try {
    const reread = () => loadConfig(options.config);
    const pontoon = await startPontoon(config, log, reread);
    process.stdout.write(welcome(pontoon, config, options.config));
    stopOnSignal(pontoon, log);
    reloadOnChange(pontoon, options.config, reread, log);
  } catch (error) {
    log.fatal({ reason: reasonOf(error) }, 'cannot start');
    process.exitCode = 1;
  }
}

/** Takes over the configuration when its file changes, and on SIGHUP. One that cannot be used changes nothing. */
function reloadOnChange(pontoon: Pontoon, file: string, reread: () => Config, log: Logger): void {
  const reload = async (): Promise<void> => {
    try {
      await pontoon.reload(reread());
    } catch (error) {
      log.error({ reason: reasonOf(error) }, 'configuration cannot be taken over; it stays as it was');
    }
  };
  process.on('SIGHUP', () => void reload());
  // The folder, since editors and Kubernetes replace files: by a rename, and by a symbolic link to another folder.
  let soon: NodeJS.Timeout | undefined;
  const unwatched = (error: unknown) =>
    log.warn({ reason: reasonOf(error) }, 'changes of the configuration are not noticed: send SIGHUP');
  try {
    watch(dirname(file), { persistent: false }, () => {
      clearTimeout(soon);
      soon = setTimeout(() => void reload(), settleMs);
    }).on('error', unwatched);
  } catch (error) {
    unwatched(error);
  }
}

function stopOnSignal(pontoon: Pontoon, log: Logger): void {
  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.error('a part of it does not end: stopped without it');
      process.exit(1);
    }, longestStop).unref();
    pontoon.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ reason: String(error) }, 'did not stop cleanly');
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

/** Addresses that are printed one by one. */
const mostAddresses = 4;

function welcome({ adminUrl, xds }: Pontoon, config: Config, file: string): string {
  const isShort = xds.length <= mostAddresses;
  const addresses = isShort ? xds.join(', ') : `${xds[0]} and ${xds.length - 1} more`;
  // The ports that were bound; of several listeners each has its own number of them.
  let first = 0;
  const ports = config.istio.xds.map(({ shards }) => {
    const own = xds.slice(first, first + shards);
    first += shards;
    return own.map((address) => Number(address.slice(address.lastIndexOf(':') + 1)));
  });
  const fragment = isShort
    ? fragmentOf(config, ports).replace(/^(?=.)/gm, '  ')
    : `  pontoon meshconfig -c ${file}    # prints what istiod's meshConfig needs\n`;
  return `
Pontoon is running.
  status page and API   ${adminUrl}
${xds.length === 0 ? '' : `  xDS server for Istio  ${addresses}\n`}
To let Istio read it:

${fragment}
`;
}
