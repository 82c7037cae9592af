import { appendFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { parse } from 'yaml';
import { FileSource } from '#adapters/file/source.js';
import { contextOf, type Recorder, type Running, run } from '#test/real/recorder.js';
import { TestFolder, yaml } from './folder.js';

/** `name: address address` of each service. */
const shown = (out: Recorder) =>
  [...out.services.values()]
    .map(({ key, instances }) => `${key.name}: ${instances.map(({ address }) => address).join(' ')}`)
    .sort();

describe('file: services from files', function () {
  this.timeout(60_000);
  let folder: TestFolder;
  const started: Running[] = [];

  function start(path: string, includes?: (name: string) => boolean): Running {
    const running = run(new FileSource(path, contextOf('f', includes)));
    started.push(running);
    return running;
  }

  beforeEach(() => {
    folder = new TestFolder();
  });

  afterEach(() => Promise.all(started.splice(0).map(({ stop }) => stop())));

  describe('one file', () => {
    it('is read, and again when it is saved in place or replaced', async () => {
      folder.write('s.yaml', yaml({ s: ['10.0.0.1'] }));
      const { out, until } = start(folder.file('s.yaml'));
      await until('read', () => shown(out).join() === 's: 10.0.0.1');
      folder.write('s.yaml', yaml({ s: ['10.0.0.1', '10.0.0.2'] }));
      await until('in place', () => shown(out).join() === 's: 10.0.0.1 10.0.0.2', 5_000);
      folder.replace('s.yaml', yaml({ s: ['10.0.0.3'] }));
      await until('replaced', () => shown(out).join() === 's: 10.0.0.3', 5_000);
      folder.replace(
        's.yaml',
        JSON.stringify({ services: [{ name: 's', instances: [{ address: '::1', port: 80 }] }] }),
      );
      await until('as JSON', () => shown(out).join() === 's: ::1', 5_000);
      expect(out.now).to.equal('live');
    });

    it('is read once it is written to its end, and when an editor has moved it away and writes it anew', async () => {
      const whole = yaml({ a: ['10.0.0.1'], b: ['10.0.0.2'] });
      folder.write('s.yaml', whole);
      const { out, until } = start(folder.file('s.yaml'));
      await until('read', () => out.services.size === 2);
      out.fewest = Number.POSITIVE_INFINITY;
      const { listings } = out;
      folder.write('s.yaml', yaml({ a: ['10.0.0.9'] }));
      await sleep(300);
      appendFileSync(folder.file('s.yaml'), '  - { name: b, instances: [{ address: 10.0.0.2, port: 80 }] }\n');
      await until('the whole', () => shown(out).join() === 'a: 10.0.0.9,b: 10.0.0.2', 5_000);
      renameSync(folder.file('s.yaml'), folder.file('s.yaml~'));
      await sleep(300);
      folder.write('s.yaml', yaml({ a: ['10.0.0.8'], b: ['10.0.0.2'] }));
      await until('the new one', () => shown(out).join() === 'a: 10.0.0.8,b: 10.0.0.2', 5_000);
      expect(out.fewest).to.equal(2);
      expect(out.listings).to.equal(listings + 2);
    });

    it('changes nothing while it is missing, malformed or not there to be read, and says where and why', async () => {
      folder.write('s.yaml', yaml({ s: ['10.0.0.1'] }));
      const { out, until } = start(folder.file('s.yaml'));
      await until('read', () => out.services.size === 1);
      for (const [text, reason] of [
        ['services:\n  - name: s\n    instances: [\n', /^s\.yaml:4:1: Flow sequence/],
        ['', /^s\.yaml:1:1: .*expected "services:" with a list$/],
        ['<html>Sign in</html>', /^s\.yaml:1:1: /],
        ['service:\n  - name: s\n', /^s\.yaml:1:1: .*services.*"service"/],
        ['services:\n  - *gone\n', /^s\.yaml:2:5: \*gone refers to an anchor/],
        ['services: []\n---\nservices: []\n', /^s\.yaml:2:1: Source contains multiple documents/],
      ] as const) {
        folder.replace('s.yaml', text);
        await until(`stale for ${text}`, () => reason.test(out.reason), 5_000);
      }
      folder.remove('s.yaml');
      await until('stale as it is missing', () => /ENOENT.*s\.yaml/.test(out.reason), 5_000);
      await sleep(1_500);
      expect(shown(out)).to.deep.equal(['s: 10.0.0.1']);
      folder.write('s.yaml', yaml({ s: ['10.0.0.2'] }));
      await until('back', () => shown(out).join() === 's: 10.0.0.2' && out.now === 'live', 5_000);
    });

    it('may say that there is nothing: that is believed when it is said twice', async () => {
      folder.write('s.yaml', yaml({ s: ['10.0.0.1'], t: ['10.0.0.2'] }));
      const { out, until } = start(folder.file('s.yaml'));
      await until('read', () => out.services.size === 2);
      folder.replace('s.yaml', 'services: [{ name: s }]');
      await until('one emptied, one gone', () => shown(out).join() === 's: ', 5_000);
      folder.replace('s.yaml', 'services: []');
      await until('none', () => out.services.size === 0, 5_000);
      expect(out.now).to.equal('live');
    });

    it('has malformed records beside good ones, each with its place', async () => {
      folder.write('s.yaml', yaml({ s: ['10.0.0.1', '0.0.0.0', 'fe80::1%eth0'], t: ['10.0.0.2'] }));
      const { out, until } = start(folder.file('s.yaml'));
      await until('read', () => out.services.size === 2);
      expect(out.named('s')?.instances.map(({ address }) => address)).to.deep.equal(['10.0.0.1']);
      expect(out.named('s')?.rejected.map(({ record }) => record)).to.deep.equal(['s.yaml:5:9', 's.yaml:6:9']);
      folder.replace('s.yaml', 'services:\n  - name: s\n    instnces: []\n  - name: u\n  - instances: []\n  - 7\n');
      await until('the next content', () => out.named('u') !== undefined, 5_000);
      const unreadable = [...out.unreadables].map(([id, error]) => `${decodeURIComponent(id)} ${error.message}`);
      expect(unreadable[0]).to.match(/^f\/\/\/s\/ s\.yaml:3:5: unknown key "instnces"; the keys here are name, /);
      expect(unreadable[1]).to.match(/^f\/\/\/s\.yaml:5:5\/ s\.yaml:5:5: name: /);
      expect(unreadable[2]).to.match(/^f\/\/\/s\.yaml:6:5\/ s\.yaml:6:5: /);
      expect(shown(out), 's as it was; t is gone').to.deep.equal(['s: 10.0.0.1', 'u: ']);
      const begun = performance.now();
      folder.replace('s.yaml', 'services:\n  - name: u\n');
      await until('the malformed one is gone', () => out.named('s') === undefined, 5_000);
      expect(performance.now() - begun, 'ms, with a second look').to.be.greaterThan(900);
      folder.replace('s.yaml', yaml({ s: ['10.0.0.3'], u: ['10.0.0.4'] }));
      await until('mended', () => out.named('s')?.instances[0]?.address === '10.0.0.3', 5_000);
      expect(out.unreadables.size).to.equal(0);
    });
  });

  describe('a folder', () => {
    it('joins its files, whatever is not one of services stays out, and files come and go', async () => {
      folder.write('a.yaml', yaml({ a: ['10.0.0.1'] }));
      folder.write(
        'b.json',
        JSON.stringify({ services: [{ name: 'b', instances: [{ address: '10.0.0.2', port: 80 }] }] }),
      );
      folder.write('README.md', '# not services');
      folder.write('.hidden.yaml', yaml({ hidden: ['10.0.0.3'] }));
      mkdirSync(folder.file('deeper'));
      folder.write(join('deeper', 'd.yaml'), yaml({ deeper: ['10.0.0.4'] }));
      const { out, until } = start(folder.path);
      await until('read', () => out.now === 'live');
      expect(shown(out)).to.deep.equal(['a: 10.0.0.1', 'b: 10.0.0.2']);
      folder.write('c.yml', yaml({ c: ['10.0.0.5'] }));
      await until('a new file', () => out.named('c') !== undefined, 5_000);
      folder.remove('a.yaml');
      await until('a file less', () => out.named('a') === undefined, 5_000);
      expect(shown(out)).to.deep.equal(['b: 10.0.0.2', 'c: 10.0.0.5']);
      expect(out.states.some(({ kind }) => kind === 'stale')).to.equal(false);
    });

    it('keeps the previous content of a file that is malformed, and follows the others', async () => {
      folder.write('a.yaml', yaml({ a: ['10.0.0.1'] }));
      folder.write('b.yaml', yaml({ b: ['10.0.0.2'] }));
      const { out, until } = start(folder.path);
      await until('read', () => out.services.size === 2);
      folder.replace('a.yaml', 'services:\n  - name: "a\n');
      await until('the place', () => out.now === 'stale' && /^a\.yaml:\d+:\d+: /.test(out.reason), 5_000);
      folder.replace('b.yaml', yaml({ b: ['10.0.0.3'] }));
      await until('the other file', () => out.named('b')?.instances[0]?.address === '10.0.0.3', 5_000);
      await until('still the place', () => out.now === 'stale' && /^a\.yaml:/.test(out.reason), 5_000);
      expect(shown(out)).to.deep.equal(['a: 10.0.0.1', 'b: 10.0.0.3']);
      folder.replace('a.yaml', yaml({ a: ['10.0.0.4'] }));
      await until('mended', () => out.now === 'live' && shown(out).join() === 'a: 10.0.0.4,b: 10.0.0.3', 5_000);
    });

    it('is not complete at the start before each of its files could be read', async () => {
      folder.write('a.yaml', yaml({ a: ['10.0.0.1'] }));
      folder.write('b.yaml', 'services: [');
      const { out, until } = start(folder.path);
      await until('the error', () => out.now === 'stale');
      await sleep(500);
      expect(out.listings).to.equal(0);
      folder.replace('b.yaml', yaml({ b: ['10.0.0.2'] }));
      await until('both', () => shown(out).join() === 'a: 10.0.0.1,b: 10.0.0.2', 5_000);
    });

    it('names both places of a service that stands in two files, and nothing else suffers', async () => {
      folder.write('a.yaml', yaml({ a: ['10.0.0.1'], twice: ['10.0.0.2'] }));
      folder.write('b.yaml', yaml({ twice: ['10.0.0.3'], b: ['10.0.0.4'] }));
      const { out, until } = start(folder.path);
      await until('read', () => out.services.size === 3);
      expect(shown(out)).to.deep.equal(['a: 10.0.0.1', 'b: 10.0.0.4', 'twice: 10.0.0.2']);
      const [rejection] = out.named('twice')?.rejected ?? [];
      expect(rejection?.record).to.equal('b.yaml:2:5');
      expect(rejection?.reason).to.include('a.yaml:5:5').and.include('"twice"');
      expect(out.now).to.equal('live');
      folder.replace('a.yaml', yaml({ a: ['10.0.0.1'] }));
      await until('mended', () => out.named('twice')?.instances[0]?.address === '10.0.0.3', 5_000);
      expect(out.named('twice')?.rejected).to.deep.equal([]);
    });

    it('is read behind the links of a ConfigMap, and again when those are set anew', async () => {
      folder.mount(1, [], { 'a.yaml': yaml({ a: ['10.0.0.1'] }), 'b.yaml': yaml({ b: ['10.0.0.2'] }) });
      const all = start(folder.path);
      const one = start(folder.file('a.yaml'));
      await all.until('read', () => shown(all.out).join() === 'a: 10.0.0.1,b: 10.0.0.2');
      await one.until('read', () => shown(one.out).join() === 'a: 10.0.0.1');
      const begun = performance.now();
      folder.mount(2, ['a.yaml', 'b.yaml'], {
        'a.yaml': yaml({ a: ['10.0.0.3'] }),
        'c.yaml': yaml({ c: ['10.0.0.4'] }),
      });
      // Less than the interval at which files are looked at without an event.
      await one.until('anew', () => shown(one.out).join() === 'a: 10.0.0.3', 5_000);
      console.log(`      one file after ${Math.round(performance.now() - begun)} ms`);
      await all.until('anew', () => shown(all.out).join() === 'a: 10.0.0.3,c: 10.0.0.4', 5_000);
      expect([...all.out.states, ...one.out.states].some(({ kind }) => kind === 'stale')).to.equal(false);
    });

    it('keeps everything while it is missing or has no file of services, as a volume that is not mounted', async () => {
      folder.write('a.yaml', yaml({ a: ['10.0.0.1'] }));
      const { out, until } = start(folder.path);
      await until('read', () => out.services.size === 1);
      renameSync(folder.path, `${folder.path}.away`);
      await until('stale', () => /ENOENT/.test(out.reason), 5_000);
      mkdirSync(folder.path);
      await until('still stale', () => /has no file of services/.test(out.reason), 15_000);
      await sleep(1_500);
      expect(shown(out)).to.deep.equal(['a: 10.0.0.1']);
      folder.write('a.yaml', yaml({ a: ['10.0.0.2'] }));
      await until('back', () => shown(out).join() === 'a: 10.0.0.2' && out.now === 'live', 15_000);
    });

    it('keeps what a file said that is there and cannot be read', async () => {
      folder.write('a.yaml', yaml({ a: ['10.0.0.1'] }));
      folder.write('b.yaml', yaml({ b: ['10.0.0.2'] }));
      const { out, until } = start(folder.path);
      await until('read', () => out.services.size === 2);
      folder.remove('a.yaml');
      mkdirSync(folder.file('a.yaml'));
      await until('stale', () => out.now === 'stale' && /^a\.yaml cannot be read: EISDIR/.test(out.reason), 5_000);
      await sleep(1_500);
      expect(shown(out)).to.deep.equal(['a: 10.0.0.1', 'b: 10.0.0.2']);
      rmSync(folder.file('a.yaml'), { recursive: true });
      await until('gone', () => shown(out).join() === 'b: 10.0.0.2', 5_000);
    });
  });

  it('shows nothing that is not included', async () => {
    folder.write('s.yaml', `${yaml({ s: ['10.0.0.1'], t: ['10.0.0.2'] })}  - { name: x, wrong: 1 }\n`);
    const { out, until } = start(folder.path, (name) => name === 's');
    await until('read', () => out.now === 'live');
    expect(shown(out)).to.deep.equal(['s: 10.0.0.1']);
    expect(out.unreadables.size).to.equal(0);
  });

  it('gives nothing when a file says the same, and is alive without a change', async () => {
    folder.write('s.yaml', yaml({ s: ['10.0.0.1'] }));
    const { out, until } = start(folder.path);
    await until('read', () => out.now === 'live');
    const { listings } = out;
    folder.replace('s.yaml', yaml({ s: ['10.0.0.1'] }));
    folder.write('other.txt', 'no services');
    await until('looked again', () => out.lives >= 2, 15_000);
    expect(out.listings).to.equal(listings);
  });

  it('reads a big file without holding up the event loop', async function () {
    this.timeout(180_000);
    const services = Array.from({ length: 3_000 }, (_, index) => {
      const addresses = Array.from({ length: 5 }, (_, place) => `10.${place}.${index >> 8}.${index & 255}`);
      return [`service-${index}`, addresses] as const;
    });
    const text = yaml(Object.fromEntries(services));
    const begun = performance.now();
    parse(text);
    const inOneGo = performance.now() - begun;
    writeFileSync(folder.file('big.yaml'), text);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const { out, until } = start(folder.path);
    await until('read', () => out.services.size === 3_000, 60_000);
    folder.replace('big.yaml', text.replace('10.0.0.1,', '10.9.9.9,'));
    await until('changed', () => out.named('service-1')?.instances[0]?.address === '10.9.9.9', 60_000);
    delay.disable();
    const stall = delay.max / 1e6;
    console.log(`      longest stall ${stall.toFixed(0)} ms; parsed in one go ${inOneGo.toFixed(0)} ms`);
    expect(stall).to.be.lessThan(inOneGo / 2);
  });
});
