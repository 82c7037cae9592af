import { randomBytes } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';

/** What becomes of every third answer: cut in the middle, with the connection; 30 s late; other bytes. */
export type Sickness = 'cut' | 'delayed' | 'garbled';

const every = 3;
const delayMs = 30_000;

/** Makes answers sick, on all the connections that go through what it gives. */
export class Sick {
  /** Well while undefined. */
  sickness: Sickness | undefined;
  /** Answers that were made sick. */
  count = 0;
  #answers = 0;

  /** What a connection's answers go through. A piece that comes at once counts as one answer. */
  readonly through = (): Transform => {
    const treat = (answer: Buffer, done: TransformCallback) => this.#treat(answer, stream, done);
    const stream = new Transform({ transform: (answer: Buffer, _encoding, done) => treat(answer, done) });
    return stream;
  };

  #treat(answer: Buffer, stream: Transform, done: TransformCallback): void {
    this.#answers++;
    const sickness = this.#answers % every === 0 ? this.sickness : undefined;
    if (sickness === undefined) done(null, answer);
    else {
      this.count++;
      make[sickness](answer, stream, done);
    }
  }
}

const make: Readonly<Record<Sickness, (answer: Buffer, stream: Transform, done: TransformCallback) => void>> = {
  garbled: (answer, _stream, done) => done(null, garbled(answer)),
  delayed: (answer, _stream, done) => {
    setTimeout(() => done(null, answer), delayMs).unref();
  },
  cut: (answer, stream) => {
    stream.push(answer.subarray(0, answer.length / 2));
    // The half is to arrive.
    setTimeout(() => stream.destroy(), 20);
  },
};

/** Other bytes of the same length; the head of an HTTP answer stays, so that the body is what is wrong. */
function garbled(answer: Buffer): Buffer {
  const end = answer.indexOf('\r\n\r\n');
  const head = answer.subarray(0, 5).toString() === 'HTTP/' && end >= 0 ? answer.subarray(0, end + 4) : Buffer.alloc(0);
  return Buffer.concat([head, randomBytes(answer.length - head.length)]);
}
