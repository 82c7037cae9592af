import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';

// Servers on loopback that answer with their names: arguments are http:NAME:PORT and tcp:NAME:PORT.
for (const argument of process.argv.slice(2)) {
  const [kind, name = '', port] = argument.split(':');
  const server =
    kind === 'http'
      ? createHttpServer((request, response) => response.end(`${name} as ${request.headers.host}`))
      : createServer((socket) => socket.once('data', (data) => socket.end(`${name} got ${data}`)));
  server.listen(Number(port), '127.0.0.1');
}
