import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'chai';
import { fillOnce, installed, installFolder, isInstalled, recipeNamed } from '#test/servers/cache.js';
import { freePorts } from '#test/servers/ports.js';
import { httpOk, until } from '#test/servers/probes.js';
import { Server, serverFolder } from '#test/servers/process.js';

const HELLO = `
  require('node:http').createServer((_, r) => r.end('hello')).listen(Number(process.argv[1]), '127.0.0.1');
  console.log('listening');
`;

async function hello(script = HELLO, readyTimeoutMs = 10_000): Promise<{ server: Server; url: string }> {
  const port = await freePorts([0]);
  const url = `http://127.0.0.1:${port}/`;
  const server = new Server({
    name: 'hello',
    command: process.execPath,
    args: ['-e', script, String(port)],
    folder: serverFolder('hello'),
    ready: () => httpOk(url),
    readyTimeoutMs,
  });
  return { server, url };
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error('did not fail');
}

function hasEnded(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return true;
  }
}

describe('test servers: the process', () => {
  it('is ready after start, gone after stop and back on the same port after another start', async () => {
    const { server, url } = await hello();
    await server.start();
    expect(server.running).to.equal(true);
    expect(server.log()).to.equal('listening\n');
    const first = server.pid;
    await server.stop();
    expect(server.pid).to.equal(undefined);
    expect(await httpOk(url)).to.equal(false);
    await server.restart();
    expect(server.pid).not.to.equal(first);
    expect(server.log()).to.equal('listening\n');
    await server.kill();
    expect(await httpOk(url)).to.equal(false);
  });

  it('does not answer while frozen, and can be stopped then', async () => {
    const { server, url } = await hello();
    await server.start();
    server.pause();
    const frozen = await failure(fetch(url, { signal: AbortSignal.timeout(200) }));
    expect(frozen.name).to.equal('TimeoutError');
    server.resume();
    expect(await httpOk(url)).to.equal(true);
    server.pause();
    await server.stop();
    expect(server.running).to.equal(false);
  });

  it('is killed when it does not heed SIGTERM', async () => {
    const { server } = await hello(`process.on('SIGTERM', () => {});${HELLO}`);
    await server.start();
    await server.stop(100);
    expect(server.running).to.equal(false);
  });

  it('shows the end of its log when it ends early or is not ready in time', async () => {
    const early = await hello("console.log('no such disk'); process.exit(3)");
    expect((await failure(early.server.start())).message).to.match(/hello ended before it was ready.*no such disk/s);
    const late = await hello("console.log('still loading'); setInterval(() => {}, 1000)", 500);
    expect((await failure(late.server.start())).message).to.match(/not within 500 ms.*still loading/s);
    expect(late.server.running).to.equal(false);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    it(`ends when the process that started it gets ${signal}`, async function () {
      if (signal === 'SIGKILL' && spawnSync('setpriv', ['--version']).status !== 0) this.skip();
      const script = `
        import { Server, serverFolder } from '#test/servers/process.js';
        const server = new Server({
          name: 'sleeper', command: 'sleep', args: ['100'], folder: serverFolder('sleeper'), ready: () => true,
        });
        await server.start();
        console.log(server.pid);
        setInterval(() => {}, 1000);
      `;
      const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
        cwd: new URL('../../../', import.meta.url),
        // A process that is killed cannot clear its own folders away.
        env: { ...process.env, TMPDIR: serverFolder('parent') },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = await once(createInterface(parent.stdout), 'line');
      parent.kill(signal);
      await until('the end of the server', () => hasEnded(String(line)), 5_000);
    });
  }
});

describe('test servers: the cache', () => {
  let root: string;
  const before = process.env.PONTOON_CACHE;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'pontoon-cache-'));
    process.env.PONTOON_CACHE = root;
  });

  afterEach(async () => {
    if (before === undefined) delete process.env.PONTOON_CACHE;
    else process.env.PONTOON_CACHE = before;
    await rm(root, { recursive: true });
  });

  it('names an install after its recipe and says how to get it', () => {
    const recipe = recipeNamed('consul');
    expect(installFolder(recipe)).to.match(/\/consul-[0-9a-f]{12}$/);
    expect(isInstalled(recipe)).to.equal(false);
    expect(() => installed('consul')).to.throw('npm run servers:install -- consul');
    expect(() => recipeNamed('consol')).to.throw('no server is named consol');
  });

  it('leaves nothing of a build that failed', async () => {
    const folder = join(root, 'x');
    const build = async (temporary: string) => {
      await writeFile(join(temporary, 'half'), '');
      throw new Error('no network');
    };
    expect((await failure(fillOnce(folder, build))).message).to.equal('no network');
    for (const left of [folder, `${folder}.tmp`, `${folder}.lock`]) expect(existsSync(left)).to.equal(false);
  });

  it('builds once when two ask at the same time', async () => {
    let builds = 0;
    const build = async (temporary: string) => {
      builds++;
      await writeFile(join(temporary, 'done'), '');
    };
    const folder = join(root, 'x');
    const ran = await Promise.all([fillOnce(folder, build), fillOnce(folder, build)]);
    expect(ran.filter(Boolean)).to.have.length(1);
    expect(builds).to.equal(1);
    expect(existsSync(join(folder, 'done'))).to.equal(true);
  });

  it('takes over the lock of a process that is gone, and one that nobody has touched for long', async () => {
    const { pid } = spawnSync('true');
    await writeFile(join(root, 'x.lock'), String(pid));
    expect(await fillOnce(join(root, 'x'), async () => {})).to.equal(true);

    await writeFile(join(root, 'y.lock'), String(process.pid));
    await utimes(join(root, 'y.lock'), 0, 0);
    expect(await fillOnce(join(root, 'y'), async () => {})).to.equal(true);
  });
});

describe('test servers: ports', () => {
  it('gives blocks in which every port is free, none twice', async () => {
    const bases = await Promise.all([freePorts([0, 1000]), freePorts([0, 1000]), freePorts([0])]);
    expect(new Set(bases).size).to.equal(3);
    for (const base of bases) {
      const server = createServer().listen(base, '127.0.0.1');
      await once(server, 'listening');
      server.close();
    }
  });
});
