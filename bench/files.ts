import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Sidecar } from '#test/e2e/sidecar.js';
import { Mesh, temporaryDirectory } from '#test/real/names/mesh.js';
import { startIstiod } from '#test/servers/istiod.js';
import { until } from '#test/servers/probes.js';

// The files sink with 10,000 hosts of 10 endpoints: the first writing, a restart over the same files, one change, and istiod's way to it by fs://.
const hosts = 10_000;
const patience = 600_000;

const report = async (what: string, done: () => boolean | Promise<boolean>): Promise<void> => {
  const start = performance.now();
  const { user, system } = process.cpuUsage();
  await until(what, done, patience, 5);
  const cpu = process.cpuUsage({ user, system });
  const ms = (performance.now() - start).toFixed(0).padStart(6);
  console.log(`${ms} ms, ${((cpu.user + cpu.system) / 1_000).toFixed(0).padStart(6)} ms of CPU  ${what}`);
};
const fill = (mesh: Mesh): void => {
  for (let index = 0; index < hosts; index++) {
    const places = Array.from({ length: 10 }, (_, place) => `10.${place}.${index >> 8}.${index & 255}:8080`);
    mesh.set(`service-${index}.eureka`, places);
  }
};
const isSettled = ({ sink }: Mesh): boolean => sink.status().files === hosts + 2 && sink.status().pending === 0;
const file = (mesh: Mesh): string => readFileSync(join(mesh.directory, 'shop/service-77.eureka.yaml'), 'utf8');

const first = new Mesh(temporaryDirectory());
fill(first);
first.sink.ready();
await report(`${hosts} files written`, () => isSettled(first));
await first.sink.close();

const mesh = new Mesh(first.directory);
fill(mesh);
mesh.sink.ready();
await report(`${hosts} files compared by a new process`, () => isSettled(mesh));
console.log(`   ${mesh.sink.status().written} written by it`);
mesh.set('service-77.eureka', ['10.9.9.9:8080']);
await report('one host changed', () => file(mesh).includes('10.9.9.9'));

const istiod = await startIstiod({ configSources: [`fs://${mesh.directory}`] });
const sidecar = new Sidecar(istiod.xdsAddress);
await sidecar.has('service-77.eureka', 80, ['10.9.9.9:8080'], patience);
mesh.set('service-77.eureka', ['10.9.9.8:8080']);
const ms = await sidecar.has('service-77.eureka', 80, ['10.9.9.8:8080'], patience);
console.log(`${ms.toFixed(0).padStart(6)} ms  change → file → istiod's fs:// → sidecar`);
sidecar.close();
await istiod.stop();
await mesh.close();
process.exit();
