import type { Logger } from 'pino';
import { ConfigError, loadConfig } from '#config/load.js';
import type { Config } from '#config/schema.js';
import { reasonOf } from '#model/reason.js';
import { createLog } from '../log.js';
import { type Pontoon, startPontoon } from '../main.js';

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
    const pontoon = await startPontoon(config, log);
    process.stdout.write(welcome(pontoon));
    stopOnSignal(pontoon, log);
  } catch (error) {
    log.fatal({ reason: reasonOf(error) }, 'cannot start');
    process.exitCode = 1;
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

function welcome({ adminUrl, xds }: Pontoon): string {
  return `
Pontoon is running.
  status page and API   ${adminUrl}
  xDS server for Istio  ${xds.join(', ')}

To let Istio read it, add this to its meshConfig and restart istiod; keep k8s:// if you use Istio's Kubernetes resources:

  configSources:
${xds.map((address) => `    - address: xds://${address.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, '<this host>')}\n      tlsSettings: { mode: DISABLE }\n`).join('')}    - address: k8s://

`;
}
