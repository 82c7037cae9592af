import { get } from 'node:http';
import { connect } from 'node:net';

// An ordinary program that knows names only: `http://HOST/` or `tcp://HOST:PORT`. Prints the answer.
const url = new URL(process.argv[2] ?? '');
const fail = (error: Error): void => {
  console.error(error.message);
  process.exitCode = 1;
};
if (url.protocol === 'http:') get(url, (response) => response.pipe(process.stdout)).on('error', fail);
else
  connect(Number(url.port), url.hostname, function (this: import('node:net').Socket) {
    this.write('hello');
  })
    .on('error', fail)
    .pipe(process.stdout);
