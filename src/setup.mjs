// Makes a checkout ready to run, with Node's built-ins only: installs the dependencies when the lock file has changed, then builds.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Pontoon needs Node 20.19 or later; this is ${process.version}.`);
  process.exit(1);
}

function run(what, ...args) {
  console.log(`${what} ...`);
  const { status, stdout, stderr } = spawnSync('npm', args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (status === 0) return;
  console.error(`${stdout}${stderr}\n${what} failed: npm ${args.join(' ')}`);
  process.exit(1);
}

const marker = 'node_modules/.installed';
const lock = createHash('sha256').update(readFileSync('package-lock.json')).update(process.version).digest('hex');
if (!existsSync(marker) || readFileSync(marker, 'utf8') !== lock) {
  run('Installing dependencies', 'ci', '--no-audit', '--no-fund');
  writeFileSync(marker, lock);
}
run('Building', 'run', 'build', '--silent');
