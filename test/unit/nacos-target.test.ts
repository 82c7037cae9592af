import { expect } from 'chai';
import { z } from 'zod';
import { nacos } from '#adapters/nacos/index.js';
import type { TargetKind } from '#publish/contract.js';

describe('names of what is published into Nacos', () => {
  const kind = nacos.target as TargetKind;
  const key = (name: string, block: Readonly<Record<string, unknown>> = {}) =>
    kind.key(name, z.strictObject(kind.fields).parse(block));

  it('are those that sources read', () => {
    const shop = { namespace: 'prod', group: 'g1' };
    expect(key('orders')).to.deep.equal({ namespace: 'public', group: 'DEFAULT_GROUP', name: 'orders', version: '' });
    expect(key('Orders_1:x', shop)).to.deep.equal({ ...shop, name: 'Orders_1:x', version: '' });
  });

  it('are refused where Nacos would', () => {
    expect(() => key('a@@b')).to.throw('"a@@b" is no name of a service in Nacos: expected up to 512 printable');
    for (const name of ['', '@a', 'a b', 'ü', 'x'.repeat(513)]) expect(() => key(name), name).to.throw('is no name');
    expect(() => key('a', { group: 'a/b' })).to.throw('"a/b" is no group in Nacos');
    expect(() => key('a', { cluster: 'a_b' })).to.throw('"a_b" is no cluster in Nacos');
    expect(() => key('a', { namespace: 'my ns' })).to.throw('"my ns" is no id of a namespace in Nacos');
  });
});
