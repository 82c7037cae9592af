import { expect } from 'chai';
import { z } from 'zod';
import { Driver } from '#adapters/zookeeper/driver.js';
import { below, nameOf, reconcile } from '#adapters/zookeeper/paths.js';
import { Relation } from '#adapters/zookeeper/relation.js';
import { fields } from '#adapters/zookeeper/schema.js';

describe('ZooKeeper configuration', () => {
  const schema = z.strictObject(fields);

  it('needs servers only', () => {
    expect(schema.parse({ servers: ['zk1', '[::1]:2182'] })).to.deep.equal({
      servers: [
        { host: 'zk1', port: 2181 },
        { host: '::1', port: 2182 },
      ],
      sessionTimeout: 10_000,
      dubbo: { root: ['/dubbo'] },
      applications: { root: '/services' },
      springCloud: { root: '/services' },
      probe: 'tcp',
    });
  });

  it('switches levels off and moves them', () => {
    const found = schema.parse({ servers: ['zk'], dubbo: 'off', applications: { root: '/a/b', metadata: '/m' } });
    expect(found.dubbo).to.equal(undefined);
    expect(found.applications).to.deep.equal({ root: '/a/b', metadata: '/m' });
    expect(schema.parse({ servers: ['zk'], applications: false }).applications).to.equal(undefined);
    for (const probe of ['off', false] as const) expect(schema.parse({ servers: ['zk'], probe }).probe).to.equal('off');
  });

  it('refuses what is no znode', () => {
    for (const root of ['dubbo', '/dubbo/', '//x', '/a/../b', ''])
      expect(() => schema.parse({ servers: ['zk'], dubbo: { root } }), root).to.throw();
    expect(schema.parse({ servers: ['zk'], dubbo: { root: '/' } }).dubbo).to.deep.equal({ root: ['/'] });
  });

  it('takes several roots of Dubbo that lie apart', () => {
    const root = ['/dubbo', '/dubbo-canary', '/a/b/dubbo'];
    expect(schema.parse({ servers: ['zk'], dubbo: { root } }).dubbo).to.deep.equal({ root });
    for (const wrong of [['/dubbo', '/dubbo'], ['/dubbo/a', '/dubbo'], ['/', '/dubbo'], []])
      expect(() => schema.parse({ servers: ['zk'], dubbo: { root: wrong } }), String(wrong)).to.throw();
  });

  it('has a JSON schema', () => {
    expect(() => z.toJSONSchema(schema, { io: 'input' })).not.to.throw();
  });
});

describe('ZooKeeper driver', () => {
  it("finds node-zookeeper-client's connection as it knows it", () => {
    const { client } = new Driver([{ host: '::1', port: 1 }], 1000, () => undefined);
    const manager: unknown = Reflect.get(client, 'connectionManager');
    const prototype = Object.getPrototypeOf(manager);
    for (const name of [
      'connect',
      'findNextServer',
      'setState',
      'onSocketConnected',
      'onSocketConnectTimeout',
      'onSocketData',
      'onSocketDrain',
      'onSocketClosed',
      'onSocketError',
    ])
      expect(prototype, name).to.have.property(name).that.is.a('function');
    expect(manager).to.deep.include({ servers: [{ host: '::1', port: 1 }], pendingBuffer: null, connectTimeout: 1000 });
  });
});

describe('ZooKeeper paths', () => {
  it('are joined below the root, too', () => {
    expect(below('/', 'a', 'b')).to.equal('/a/b');
    expect(below('/a', 'b')).to.equal('/a/b');
  });

  it('stand for names that may be encoded', () => {
    expect(nameOf('a.B%3A1')).to.equal('a.B:1');
    expect(nameOf('a.B%zz')).to.equal('a.B%zz');
  });

  it('become the keys of a map', () => {
    const map = new Map([
      ['a', 1],
      ['b', 2],
    ]);
    const removed: string[] = [];
    reconcile(
      map,
      ['b', 'c'],
      () => 3,
      (name) => removed.push(name),
    );
    expect([...map]).to.deep.equal([
      ['b', 2],
      ['c', 3],
    ]);
    expect(removed).to.deep.equal(['a']);
  });
});

describe('relation', () => {
  it('is looked up both ways', () => {
    const relation = new Relation();
    relation.set('app', ['a', 'b']);
    relation.add('other', 'b');
    expect([...relation.keysOf('b')]).to.deep.equal(['app', 'other']);
    relation.set('app', ['b', 'c']);
    expect([...relation.valuesOf('app')]).to.deep.equal(['b', 'c']);
    expect([...relation.keysOf('a')]).to.deep.equal([]);
    relation.drop('b');
    expect([...relation.valuesOf('other')]).to.deep.equal([]);
    expect([...relation.values()]).to.deep.equal(['c']);
  });
});
