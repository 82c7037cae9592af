#!/usr/bin/env node
import { Command } from 'commander';
import { version } from '../version.js';
import { command } from './api.js';
import { doctor } from './doctor.js';
import { explain } from './explain.js';
import { inspect } from './inspect.js';
import { journal } from './journal.js';
import { meshconfig } from './meshconfig.js';
import { plan } from './plan.js';
import { pause, resume, withdraw } from './publications.js';
import { release } from './release.js';
import { reload } from './reload.js';
import { run } from './run.js';
import { schema } from './schema.js';
import { diff, exportSnapshot, show } from './snapshot.js';
import { validate } from './validate.js';

const program = new Command('pontoon')
  .description('Bridges service registries (Eureka, Nacos, ZooKeeper/Dubbo, Consul, files) into Istio')
  .version(version)
  .showHelpAfterError();

/** A command that asks a running Pontoon. */
function asking(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('-c, --config <file>', 'configuration file, for the address of the API', 'config/pontoon.yaml')
    .option('--url <url>', 'address of the API instead');
}

program
  .command('run')
  .description('read the registries and serve them to Istio, until SIGTERM or SIGINT')
  .option('-c, --config <file>', 'configuration file', 'config/pontoon.yaml')
  .action(run);
program
  .command('validate')
  .description('check a configuration file; exits with 1 if anything is wrong with it')
  .argument('<file>', 'configuration file')
  .action(validate);
program
  .command('inspect')
  .description(
    'read one registry, print what it holds as the mesh would see it, and what of it cannot be used; exits with 1 if it cannot be read',
  )
  .argument('<registry>', 'its name in the configuration')
  .option('-c, --config <file>', 'configuration file', 'config/pontoon.yaml')
  .option('--timeout <seconds>', 'how long it may take', '30')
  .option('--json', 'print JSON')
  .action(command(inspect));
asking(
  'explain',
  'ask a running Pontoon why a service or instance is in the mesh as it is, or is absent; exits with 1 if nothing is known of it',
)
  .argument('<what>', "a host, a service's name, an instance's id, an address or address:port")
  .option('--json', 'print JSON')
  .action(command(explain));
asking('journal', 'ask a running Pontoon what changed, when and why; the newest first')
  .option('--host <host>', 'of this host only')
  .option('--instance <address>', 'of this endpoint only: an address or address:port')
  .option('--registry <name>', 'from this registry only')
  .option('--since <time>', 'not before this time: 2026-11-23T14:02, or 30m for the last 30 minutes')
  .option('--until <time>', 'not after this time')
  .option('--limit <count>', 'at most so many', '50')
  .option('--json', 'print JSON')
  .action(command(journal));
program
  .command('plan')
  .description(
    'what a configuration would change in a running Pontoon; exits with 0 if nothing, 2 if something, 1 if it cannot be told',
  )
  .option('-c, --config <file>', 'the configuration to try', 'config/pontoon.yaml')
  .option('--url <url>', "address of the API; that of the configuration's admin.listen unless given")
  .option('--json', 'print JSON')
  .action(command(plan));
asking('reload', 'let a running Pontoon read its configuration anew; exits with 1 if it cannot be taken over').action(
  command(reload),
);
asking('release', 'end what guards hold, at once and in all replicas')
  .argument('<registry>', 'its name in the configuration')
  .argument('[service]', 'name of a service; everything that is held of the registry unless given')
  .option('--start', 'instead: let a first start go on without this registry')
  .action(command(release));
asking(
  'doctor',
  'check the registries, the listeners, istiods and what is around them, and say what to do; exits with 0 if all is well, 1 if anything failed, 2 if something cannot be told',
)
  .option('--istiod <url...>', "istiods' debug pages: http://127.0.0.1:15014")
  .option('--timeout <seconds>', 'for a single question; all together end within three times that', '5')
  .option('--json', 'print JSON')
  .action(command(doctor, 2));
program
  .command('meshconfig')
  .description("print the part of istiod's meshConfig that makes it read this Pontoon")
  .option('-c, --config <file>', 'configuration file', 'config/pontoon.yaml')
  .action(command(meshconfig));
asking(
  'withdraw',
  'take back all that this owner published, and keep it back until resume; waits until it is gone, exits with 1 if it is not',
)
  .option('--registry <name>', 'out of this registry only')
  .option('--publication <name>', 'of this publication only')
  .option('--timeout <seconds>', 'how long to wait', '60')
  .action(command(withdraw));
asking('pause', 'leave what is published as it stands: leases are renewed, nothing is registered, changed or withdrawn')
  .option('--publication <name>', 'of this publication')
  .option('--service <host>', 'of this mesh service')
  .action(command(pause));
asking('resume', 'end what was paused or withdrawn: all of it, or what is given')
  .option('--registry <name>', 'of this registry')
  .option('--publication <name>', 'of this publication')
  .option('--service <host>', 'of this mesh service')
  .action(command(resume));
const snapshot = program
  .command('snapshot')
  .description('look at what Pontoon keeps on disk for its next start (state.directory)');
/** A command that reads a snapshot. */
function reading(name: string, description: string): Command {
  return snapshot
    .command(name)
    .description(description)
    .argument('[file]', "the snapshot; that in the configuration's state.directory unless given")
    .option('-c, --config <file>', 'configuration file', 'config/pontoon.yaml');
}
reading('show', 'its age and version; by registry how much it holds, what guards hold and why; services that are empty')
  .option('--json', 'print JSON')
  .action(command(show));
reading(
  'diff',
  'services and instances that are added, removed or changed in a running Pontoon, or in a second snapshot; exits with 0 if none, 1 if any, 2 if it cannot be told',
)
  .argument('[file2]', 'a second snapshot, instead of a running Pontoon')
  .option('--url <url>', "address of the API; that of the configuration's admin.listen unless given")
  .option('--json', 'print JSON')
  .action(command(diff, 2));
reading('export', 'print all that it holds')
  .option(
    '--format <format>',
    'json or yaml: all as it is; services: the mesh services that the configuration makes of it, for a registry of type file',
    'json',
  )
  .action(command(exportSnapshot));
program
  .command('schema')
  .description("print the configuration's JSON Schema, for editors")
  .option('--markdown', 'print the reference as Markdown instead')
  .action(schema);

await program.parseAsync();
