import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';

/** `bytes.js SIZES`: a plain gRPC stream that answers each request with the next of these messages, after the last with the first; sizes in bytes, by comma. Tells its port. */
const messages = (process.argv[2] ?? '').split(',').map((size) => Buffer.alloc(Number(size), 1));
const same = (bytes: Buffer) => bytes;
const server = new Server({ 'grpc.max_send_message_length': -1 });
server.addService(
  {
    stream: {
      path: '/bench/stream',
      requestStream: true,
      responseStream: true,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  },
  {
    stream: (call: ServerDuplexStream<Buffer, Buffer>) => {
      let next = 0;
      call.on('data', () => call.write(messages[next++ % messages.length] ?? Buffer.alloc(0)));
      call.on('end', () => call.end());
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, port) => process.send?.(port));
process.on('disconnect', () => process.exit());
