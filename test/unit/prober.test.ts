import { createServer } from 'node:net';
import { expect } from 'chai';
import { Prober } from '#probe/prober.js';
import { freePort } from '#test/servers/ports.js';

describe('Prober', () => {
  const address = '127.0.0.1';

  it('tells a listener from a closed port', async () => {
    const port = await freePort();
    const prober = new Prober({ pause: 1 });
    expect(await prober.ask({ address, port })).to.equal('refused');
    const listener = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => listener.listen(port, address, resolve));
    expect(await prober.ask({ address, port })).to.equal('accepted');
    await new Promise((resolve) => listener.close(resolve));
    prober.close();
  });

  it('takes no way there for silence', async () => {
    const prober = new Prober();
    expect(await prober.ask({ address: 'no.such.host.invalid', port: 1 })).to.equal('silent');
    prober.close();
  });

  it('asks three times before it gives one up, and takes the first other answer', async () => {
    const port = await freePort();
    const prober = new Prober({ pause: 30 });
    const start = performance.now();
    expect(await prober.verdict({ address, port })).to.equal('refused');
    expect(performance.now() - start).to.be.at.least(55);
    const verdict = prober.verdict({ address, port });
    await new Promise((resolve) => setTimeout(resolve, 10));
    const listener = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => listener.listen(port, address, resolve));
    expect(await verdict).to.equal('accepted');
    await new Promise((resolve) => listener.close(resolve));
    prober.close();
  });

  it('opens no more connections at a time than it may, and ends at once when it is closed', async () => {
    const prober = new Prober({ concurrency: 2, pause: 60_000 });
    const port = await freePort();
    const verdicts = Array.from({ length: 20 }, () => prober.verdict({ address, port }));
    await new Promise((resolve) => setTimeout(resolve, 50));
    prober.close();
    expect(new Set(await Promise.all(verdicts))).to.deep.equal(new Set(['silent']));
  });
});
