import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { decodeSnapshot, encodeSnapshot, SnapshotError } from '#snapshot/format.js';
import { random } from '#test/random.js';
import { knownOf } from './known.js';

/** What is wrong with a snapshot. @throws Error if nothing is, or if it is not said as it should be */
function faultOf(bytes: Buffer): SnapshotError {
  try {
    decodeSnapshot(bytes, '/state/snapshot');
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    expect(error.message).to.match(/^\/state\/snapshot (is|cannot be read)/);
    return error;
  }
  throw new Error('it was read');
}

function sealed(header: object, body: Buffer): Buffer {
  const content = Buffer.concat([Buffer.from(`pontoon-snapshot ${JSON.stringify(header)}\n`), body]);
  return Buffer.concat([content, createHash('sha256').update(content).digest()]);
}

/** A sound snapshot with these records. */
function withRecords(records: readonly object[]): Buffer {
  const body = gzipSync(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  const counts = { registries: 1, services: 0, instances: 0, held: 0, empty: 0 };
  return sealed({ format: 1, pontoon: '0.1.0', savedAt: 1, ...counts, bytes: body.length }, body);
}

describe('the format of a snapshot', () => {
  it('gives back what was known, to the last undefined field', async () => {
    for (const count of [0, 1, 50, 3_000]) {
      const known = knownOf(count);
      const { known: read, header } = decodeSnapshot(await encodeSnapshot(known), 'it');
      expect(isDeepStrictEqual(read, known), `${count} services`).to.equal(true);
      expect(header).to.include({ format: 1, registries: 2, services: count, held: 2 * count, empty: 2 });
    }
  });

  it('has the same bytes for the same content', async () => {
    expect((await encodeSnapshot(knownOf(20))).equals(await encodeSnapshot(knownOf(20)))).to.equal(true);
  });

  it('leaves the event loop to others while it is made', async () => {
    let turns = 0;
    let isDone = false;
    const turn = (): void => {
      turns++;
      if (!isDone) setImmediate(turn);
    };
    setImmediate(turn);
    await encodeSnapshot(knownOf(3_000));
    isDone = true;
    expect(turns).to.be.above(20);
  });

  it('is never read where a byte is another', async () => {
    const bytes = await encodeSnapshot(knownOf(10));
    const next = random(1);
    const codes = new Set<string>();
    for (let place = 0; place < bytes.length; place++) {
      const damaged = Buffer.from(bytes);
      damaged[place] = (bytes[place] ?? 0) ^ (1 + next(255));
      const { code } = faultOf(damaged);
      expect(code === 'foreign', `byte ${place}`).to.equal(place < 'pontoon-snapshot '.length);
      codes.add(code);
    }
    expect(codes).to.include('corrupt');
  });

  it('is never read where something is missing, was added or was exchanged', async () => {
    const bytes = await encodeSnapshot(knownOf(10));
    for (let length = 0; length < bytes.length; length++)
      expect(faultOf(bytes.subarray(0, length)).code, `${length} bytes`).to.equal('truncated');
    const next = random(2);
    for (let round = 0; round < 200; round++) {
      const [from, to] = [next(bytes.length), next(bytes.length)].sort((a, b) => a - b) as [number, number];
      const noise = Buffer.from(Array.from({ length: 1 + next(40) }, () => next(256)));
      faultOf(Buffer.concat([bytes, noise]));
      faultOf(Buffer.concat([bytes.subarray(0, from), noise, bytes.subarray(from)]));
      if (from < to) faultOf(Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]));
    }
  });

  it('says what another file begins with', () => {
    for (const other of ['{"services":[]}', '\x1f\x8b\x08\x00', '\x7fELF', 'pontoon: 1'])
      expect(faultOf(Buffer.from(other, 'latin1'))).to.include({ code: 'foreign' });
    expect(faultOf(Buffer.from('{"services":[]}')).message).to.match(
      /is no snapshot of Pontoon: it begins with "\{\\"services\\":\[\]\}", expected "pontoon-snapshot "/,
    );
  });

  it('tells a newer one from a damaged one', () => {
    const newer = sealed({ format: 2, pontoon: '3.4.5', bytes: 7 }, Buffer.from('unknown'));
    const { code, message } = faultOf(newer);
    expect(code).to.equal('newer');
    expect(message).to.match(/is of format 2, written by Pontoon 3\.4\.5; this is Pontoon .*, which reads format 1/);
    newer[newer.length - 35] = 0;
    expect(faultOf(newer).code).to.equal('corrupt');
  });

  it('says which record cannot be read', () => {
    const registry = { registry: { name: 'r', type: 'test', source: '1f' } };
    const cases: [object[], RegExp][] = [
      [[registry, { service: { key: {} } }], /record 2: registry: expected text, found nothing/],
      [[registry, { hold: { scope: 'all' } }], /record 2: scope: expected registry or service, found "all"/],
      [[{ held: [] }, registry], /record 1: held: nothing before it that it could belong to/],
      [[registry, { color: 1 }], /record 2: of an unknown kind: color/],
      [[registry, []], /record 2: of an unknown kind/],
      [[registry, registry], /found 2 registries, expected 1/],
    ];
    for (const [records, expected] of cases) {
      const { code, message } = faultOf(withRecords(records));
      expect(message).to.match(expected);
      expect(code).to.equal('corrupt');
    }
  });
});
