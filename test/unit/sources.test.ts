import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { pino } from 'pino';
import { file } from '#adapters/file/index.js';
import { RegistryView } from '#catalog/view.js';
import { cause, type Source, type SourceOutput } from '#sources/contract.js';
import { Supervisor } from '#sources/supervisor.js';
import { service } from './builders.js';

const log = pino({ level: 'silent' });

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !condition(); ) {
    if (Date.now() > end) throw new Error(`not seen within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function supervise(source: Source, staleAfter = 60_000) {
  const view = new RegistryView('r', () => undefined);
  const supervisor = new Supervisor(source, { view, staleAfter, log });
  supervisor.start();
  return { view, supervisor };
}

describe('supervisor', () => {
  it('runs a source again after an error, keeps what it wrote, and says what was wrong', async () => {
    let runs = 0;
    const { view, supervisor } = supervise({
      run: async (out, signal) => {
        runs++;
        if (runs === 1) throw new Error('wrong password');
        const listing = out.listing();
        listing.add([service('s', [])]);
        listing.commit(cause('test'));
        if (runs === 2) throw new Error('connection reset');
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
    await until('the first error', () => supervisor.status().error === 'wrong password');
    expect(supervisor.status().state).to.equal('failed');
    await until('the second error', () => supervisor.status().state === 'stale');
    expect(view.services.size).to.equal(1);
    await until('that it is live again', () => supervisor.status().state === 'live');
    expect(supervisor.status()).to.include({ runs: 3, errors: 2, error: undefined });
    await supervisor.stop();
  });

  it('notices a silent source, and that it speaks again', async () => {
    let output: SourceOutput | undefined;
    const { supervisor } = supervise(
      {
        run: async (out, signal) => {
          output = out;
          out.listing().commit(cause('test'));
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        },
      },
      80,
    );
    await until('that it is live', () => supervisor.status().state === 'live');
    await until('that it is stale', () => supervisor.status().state === 'stale');
    expect(supervisor.status().error).to.match(/^no sign of life/);
    output?.alive();
    expect(supervisor.status().state).to.equal('live');
    await supervisor.stop();
  });
});

describe('file registry', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pontoon-file-'));
  const path = join(folder, 'services.yaml');
  const hosts = (...addresses: string[]) =>
    `services:\n  - name: s\n    instances: [${addresses.map((address) => `{ address: ${address}, port: 80 }`).join(', ')}]\n`;
  let running: ReturnType<typeof supervise>;
  const s = () => running.view.services.get('r///s/');
  const found = () =>
    s()
      ?.instances.map(({ address }) => address)
      .join();

  before(() => {
    writeFileSync(path, hosts('10.0.0.1'));
    running = supervise(file.source({ path }, { registry: 'r', log, includes: () => true }));
  });
  after(() => running.supervisor.stop());

  it('is read, and read again when it is saved in place or replaced', async () => {
    await until('the first content', () => found() === '10.0.0.1');
    writeFileSync(path, hosts('10.0.0.1', '10.0.0.2'));
    await until('the second content', () => found() === '10.0.0.1,10.0.0.2');
    writeFileSync(`${path}.new`, hosts('10.0.0.3'));
    renameSync(`${path}.new`, path);
    await until('the third content', () => found() === '10.0.0.3');
  });

  it('keeps what is known while the file is malformed or missing', async () => {
    writeFileSync(path, 'services: [');
    await until('the error', () => running.supervisor.status().state === 'stale');
    rmSync(path);
    await until('the other error', () => /ENOENT/.test(running.supervisor.status().error ?? ''));
    expect(found()).to.equal('10.0.0.3');
    writeFileSync(path, hosts('10.0.0.4'));
    await until('the new content', () => found() === '10.0.0.4');
    expect(running.supervisor.status().state).to.equal('live');
  });

  it('leaves a malformed instance out, and keeps a malformed service as it was', async () => {
    writeFileSync(path, hosts('10.0.0.5', '0.0.0.0', 'fe80::1%eth0'));
    await until('the good instance', () => found() === '10.0.0.5');
    expect(s()?.rejected.map(({ record }) => record)).to.deep.equal(['instances[1]', 'instances[2]']);
    writeFileSync(
      path,
      'services: [{ name: s, instnces: [] }, { name: t, instances: [{ address: 10.0.0.9, port: 70000 }] }]\n',
    );
    await until('the other service', () => running.view.services.has('r///t/'));
    expect(running.view.unreadable.get('r///s/')?.message).to.include('instnces');
    expect(running.view.services.get('r///t/')?.rejected[0]?.reason).to.include('port 70000');
  });

  it('knows a malformed service by its namespace and version too, and takes a name once', async () => {
    writeFileSync(
      path,
      'services:\n  - { name: u, namespace: prod, version: 1, instances: [{ address: 10.0.0.8, port: 80 }] }\n  - { name: v }\n  - { name: v }\n',
    );
    await until('a service with a namespace', () => running.view.services.has('r/prod//u/1'));
    expect(running.view.unreadable.get('r///services%5B2%5D/')?.message).to.include('stands above already');
    writeFileSync(
      path,
      'services: [{ name: u, namespace: prod, version: 1, instnces: [] }, { name: s, instnces: [] }, { name: w }]\n',
    );
    await until('the change', () => running.view.services.has('r///w/'));
    expect(running.view.services.get('r/prod//u/1')?.instances).to.have.length(1);
    expect([...running.view.unreadable.keys()]).to.deep.equal(['r/prod//u/1', 'r///s/']);
  });
});
