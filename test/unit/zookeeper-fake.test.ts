import { createServer, type Server, type Socket } from 'node:net';
import { expect } from 'chai';
import { freePort } from '#test/servers/ports.js';
import { Reading } from '../real/zookeeper/harness.js';

/** A fake server: it opens a session with whoever connects, and answers the first request as it is told. */
function fakeServer(answer: (request: Buffer) => Buffer): Promise<Server> {
  const listener = createServer((socket: Socket) => {
    socket.on('error', () => socket.destroy());
    let isOpen = false;
    socket.on('data', (data) => {
      if (isOpen) socket.write(answer(data));
      else socket.write(framed(sessionOpened()));
      isOpen = true;
    });
  });
  return freePort().then(
    (port) => new Promise((resolve) => listener.listen(port, '127.0.0.1', () => resolve(listener))),
  );
}

function framed(body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** ConnectResponse: protocol version, timeout, session id, password. */
function sessionOpened(): Buffer {
  const body = Buffer.alloc(4 + 4 + 8 + 4 + 16);
  body.writeInt32BE(4_000, 4);
  body.writeBigInt64BE(7n, 8);
  body.writeInt32BE(16, 16);
  return body;
}

/** ReplyHeader with the request's xid, and an error. */
function refusal(request: Buffer, error: number): Buffer {
  const body = Buffer.alloc(16);
  request.copy(body, 0, 4, 8);
  body.writeInt32BE(error, 12);
  return framed(body);
}

describe('ZooKeeper source with a fake server', function () {
  this.timeout(60_000);
  const answers: [string, (request: Buffer) => Buffer][] = [
    ['an error code that nobody knows', (request) => refusal(request, -9999)],
    ['an answer to another request', (request) => refusal(Buffer.alloc(request.length, 1), 0)],
    ['an answer that is cut short', () => framed(Buffer.alloc(3))],
    ['no ZooKeeper at all', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ];
  for (const [what, answer] of answers)
    it(`survives ${what}, and says that it cannot read`, async () => {
      const server = await fakeServer(answer);
      const address = server.address();
      const port = typeof address === 'object' ? address?.port : 0;
      const reading = new Reading({ servers: [`127.0.0.1:${port}`], sessionTimeout: '1s' });
      await reading.is('failed');
      expect(reading.status.error).to.match(/127\.0\.0\.1/);
      expect(reading.view.complete).to.equal(false);
      await reading.stop();
      await new Promise((resolve) => server.close(resolve));
    });
});
