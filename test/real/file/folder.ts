import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serverFolder } from '#test/servers/process.js';

/** A folder of files of services. */
export class TestFolder {
  readonly path = join(serverFolder('files'), 'services');

  constructor() {
    mkdirSync(this.path);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Writes a file in place. */
  write(name: string, text: string): void {
    writeFileSync(this.file(name), text);
  }

  /** Replaces a file as a whole, as most tools do. */
  replace(name: string, text: string): void {
    writeFileSync(this.file(`.${name}.new`), text);
    renameSync(this.file(`.${name}.new`), this.file(name));
  }

  remove(name: string): void {
    rmSync(this.file(name));
  }

  /** Sets the folder's content anew as the kubelet does for a mounted ConfigMap: a new folder, `..data` turned to it, links for new keys, old links removed. */
  mount(version: number, before: readonly string[], files: Readonly<Record<string, string>>): void {
    const folder = `..v${version}`;
    mkdirSync(this.file(folder));
    for (const [name, text] of Object.entries(files)) this.write(join(folder, name), text);
    symlinkSync(folder, this.file('..data_tmp'));
    renameSync(this.file('..data_tmp'), this.file('..data'));
    for (const name of Object.keys(files))
      if (!before.includes(name)) symlinkSync(join('..data', name), this.file(name));
    for (const name of before) if (!(name in files)) this.remove(name);
    rmSync(this.file(`..v${version - 1}`), { recursive: true, force: true });
  }
}

/** A file with services, as YAML: each name with the addresses of its instances, all at port 80. */
export function yaml(services: Readonly<Record<string, readonly string[]>>): string {
  const lines = Object.entries(services).flatMap(([name, addresses]) => [
    `  - name: ${name}`,
    '    instances:',
    ...addresses.map((address) => `      - { address: ${address}, port: 80 }`),
  ]);
  return ['services:', ...lines, ''].join('\n');
}
