import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serverFolder } from '#test/servers/process.js';
import { coordinationContract } from './contract.js';

const root = serverFolder('coordination');
const directory = join(root, 'shared');
const elsewhere = join(root, 'elsewhere');

coordinationContract({
  kind: 'file',
  takeover: 8_000,
  port: undefined,
  start: async () => void mkdirSync(directory),
  stop: async () => {},
  config: (group) => ({ coordination: { type: 'file', directory: join(directory, group) } }),
  async away() {
    renameSync(directory, elsewhere);
    // So that nobody makes it anew.
    writeFileSync(directory, '');
  },
  async back() {
    rmSync(directory);
    renameSync(elsewhere, directory);
  },
});
