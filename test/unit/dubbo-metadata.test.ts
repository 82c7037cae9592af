import { createServer, type Server, type Socket } from 'node:net';
import { expect } from 'chai';
import { HessianReader, writeText, writeTexts } from '#adapters/dubbo/hessian.js';
import { type ApplicationInstance, readApplicationInstance } from '#adapters/dubbo/index.js';
import { askMetadata } from '#adapters/dubbo/metadata.js';

function read(...bytes: (number | string)[]): unknown {
  return new HessianReader(
    Buffer.concat(bytes.map((one) => Buffer.from(typeof one === 'string' ? one : [one]))),
  ).read();
}

describe('Hessian 2', () => {
  it('reads numbers in all their lengths', () => {
    expect([read(0x90), read(0x80), read(0xbf)]).to.deep.equal([0, -16, 47]);
    expect([read(0xc8, 0x30), read(0xc7, 0xff), read(0xd4, 0x10, 0x00)]).to.deep.equal([48, -1, 4096]);
    expect([read('I', 0x00, 0x01, 0x00, 0x00), read(0xe0), read(0xf8, 0x10)]).to.deep.equal([65536, 0, 16]);
    expect(read('L', 0, 0, 0, 1, 0, 0, 0, 0)).to.equal(2 ** 32);
    expect([read('T'), read('F'), read('N'), read(0x5d, 0x80)]).to.deep.equal([true, false, null, -128]);
  });

  it('reads back the texts that it writes, of any length and script', () => {
    for (const text of ['', 'group/a.b:1', 'grüße 服务 𝄞', 'x'.repeat(70_000)])
      expect(new HessianReader(writeText(text)).read()).to.equal(text);
    expect(new HessianReader(writeTexts({ a: '1', b: '' })).read()).to.deep.equal({ a: '1', b: '' });
  });

  it('reads lists, maps, objects and references', () => {
    expect(read(0x7a, 0x91, 0x01, 'a')).to.deep.equal([1, 'a']);
    expect(read('U', 0x01, 't', 0x91, 0x92, 'Z')).to.deep.equal([1, 2]);
    expect(read('M', 0x01, 't', 0x01, 'a', 0x91, 'Z')).to.deep.equal({ a: 1 });
    // Two objects of one class, the second of which stands for the first.
    expect(read(0x7a, 'C', 0x01, 'c', 0x91, 0x01, 'f', 0x60, 0x95, 'Q', 0x91)).to.deep.equal([{ f: 5 }, { f: 5 }]);
  });

  it('says what it cannot read', () => {
    expect(() => read('S', 0x00, 0x09, 'short')).to.throw('the data end too soon');
    expect(() => read(0x40)).to.throw('byte 0x40 at 0 begins no value');
    expect(() => read(0x60)).to.throw('class 0 is not defined');
    expect(() => read(...Array.from({ length: 64 }, () => 0x79))).to.throw('nested more than');
  });
});

describe('Dubbo metadata service', () => {
  let server: Server | undefined;
  const sockets = new Set<Socket>();

  afterEach((done) => {
    for (const socket of sockets) socket.destroy();
    if (server === undefined) done();
    else server.close(() => done());
    server = undefined;
  });

  async function listen(answer: (socket: Socket) => void): Promise<number> {
    return await new Promise((resolve) => {
      server = createServer((socket) => {
        sockets.add(socket);
        socket.on('error', () => undefined);
        socket.once('data', () => answer(socket));
      }).listen(0, '127.0.0.1', () => {
        const address = server?.address();
        resolve(typeof address === 'object' ? (address?.port ?? 0) : 0);
      });
    });
  }

  function instance(params?: unknown): ApplicationInstance {
    const found = readApplicationInstance({
      ...{ application: 'shop', address: '127.0.0.1', port: 1, registeredAt: 0 },
      metadata: {
        'dubbo.metadata.revision': 'abc',
        ...(params === undefined ? {} : { 'dubbo.metadata-service.url-params': JSON.stringify(params) }),
      },
    });
    if (found === undefined) throw new Error('no instance of Dubbo');
    return found;
  }

  async function failure(params?: unknown): Promise<string> {
    return await askMetadata(instance(params), new AbortController().signal).then(
      () => 'no error',
      (error: Error) => error.message,
    );
  }

  it('that an instance does not name cannot be asked', async () => {
    expect(await failure()).to.equal('it says nothing of a metadata service');
    expect(await failure({ protocol: 'dubbo' })).to.match(/^its metadata service has no protocol and port: /);
    expect(await failure({ protocol: 'rmi', port: '1' })).to.match(
      /rmi:\/\/127\.0\.0\.1:1 speaks neither tri nor dubbo/,
    );
  });

  it('that is not there, or (fake) is something else, is an error with its place', async () => {
    expect(await failure({ port: '1', protocol: 'dubbo' })).to.match(/dubbo:\/\/127\.0\.0\.1:1: connect ECONNREFUSED/);
    expect(await failure({ dubbo: { port: '1' } })).to.match(/dubbo:\/\/127\.0\.0\.1:1: connect ECONNREFUSED/);
    expect(await failure({ port: '1', protocol: 'tri' })).to.match(/tri:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
    const http = await listen((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    expect(await failure({ protocol: 'dubbo', port: http })).to.match(/answered something that is not of Dubbo/);
  });

  it('that (fake) says no, or ends the connection, is an error', async () => {
    const refusal = Buffer.concat([
      Buffer.from('dabb0228', 'hex'),
      Buffer.alloc(11),
      Buffer.from([3]),
      Buffer.from([2, 110, 111]),
    ]);
    const refusing = await listen((socket) => socket.write(refusal));
    expect(await failure({ protocol: 'dubbo', port: refusing })).to.match(/it answered status 40: no$/);
    for (const socket of sockets) socket.destroy();
    server?.close();
    const ending = await listen((socket) => socket.end());
    expect(await failure({ protocol: 'dubbo', port: ending })).to.match(/it ended the connection$/);
  });

  /** A whole answer that holds what a metadata service knows: thousands of services. */
  function largeAnswer(count: number): Buffer {
    const services = Array.from({ length: count }, (_, i) => [
      writeText(`shop.Service${i}:dubbo`),
      writeTexts({ name: `shop.Service${i}`, protocol: 'dubbo', path: `shop.Service${i}` }),
    ]);
    const parts = [...services.flat(), Buffer.from('ZZ')];
    const body = Buffer.concat([
      Buffer.from([0x91]),
      Buffer.from('H'),
      writeText('services'),
      Buffer.from('H'),
      ...parts,
    ]);
    const header = Buffer.from('dabb0214000000000000000100000000', 'hex');
    header.writeUInt32BE(body.length, 12);
    return Buffer.concat([header, body]);
  }

  it('may (fake) answer at length, and in small pieces', async () => {
    const answer = largeAnswer(10_000);
    expect(answer.length).to.be.greaterThan(800_000);
    const port = await listen((socket) => {
      const pieces = [
        answer.subarray(0, 3),
        answer.subarray(3, 40),
        answer.subarray(40, 100_000),
        answer.subarray(100_000),
      ];
      for (const [i, piece] of pieces.entries()) setTimeout(() => socket.write(piece), 30 * i);
    });
    const found = await askMetadata(instance({ protocol: 'dubbo', port }), new AbortController().signal);
    expect(found.services).to.have.length(10_000);
    expect(found.services.at(-1)?.service.interface).to.equal('shop.Service9999');
  });

  it('that (fake) announces too long an answer is not heard out', async () => {
    const header = Buffer.from('dabb02140000000000000001ffffffff', 'hex');
    const port = await listen((socket) => socket.write(header));
    expect(await failure({ protocol: 'dubbo', port })).to.match(
      /its answer has 4294967295 bytes, expected at most 2097152$/,
    );
  });
});
