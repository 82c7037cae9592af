import { expect } from 'chai';
import { Shared, sharedText } from '#model/shared.js';

describe('shared values', () => {
  it('are one object for one key', () => {
    const lists = new Shared<readonly string[]>();
    expect(lists.of('a b', (key) => key.split(' '))).to.equal(lists.of('a b', (key) => key.split(' ')));
    expect(lists.of('c', (key) => [key])).to.deep.equal(['c']);
  });

  it('keep a text as it is, whatever is in it', () => {
    for (const text of ['', 'a', 'größe', '目录', '\ud800', '🚲', 'x'.repeat(10_000)])
      expect(sharedText(text)).to.equal(text);
  });

  it('do not grow without end', () => {
    const made = new Shared<object>();
    const first = made.of('first', () => ({}));
    for (let index = 0; index < 20_000; index++) made.of(`n${index}`, () => ({}));
    expect(made.of('first', () => ({}))).not.to.equal(first);
  });

  it('keep nothing of what could not be made', () => {
    const made = new Shared<object>();
    expect(() =>
      made.of('a', () => {
        throw new Error('not a port');
      }),
    ).to.throw('not a port');
    expect(made.of('a', () => ({ port: 1 }))).to.deep.equal({ port: 1 });
  });
});
