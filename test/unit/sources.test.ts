import { expect } from 'chai';
import { pino } from 'pino';
import { RegistryView } from '#catalog/view.js';
import { cause, type Source, type SourceOutput } from '#sources/contract.js';
import { Supervisor } from '#sources/supervisor.js';
import { service } from './builders.js';

const log = pino({ level: 'silent' });

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !condition(); ) {
    if (Date.now() > end) throw new Error(`not seen within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function supervise(source: Source, staleAfter = 60_000) {
  const view = new RegistryView('r', () => undefined);
  const supervisor = new Supervisor(source, { view, staleAfter, log });
  supervisor.start();
  return { view, supervisor };
}

describe('supervisor', () => {
  it('runs a source again after an error, keeps what it wrote, and says what was wrong', async () => {
    let runs = 0;
    const { view, supervisor } = supervise({
      run: async (out, signal) => {
        runs++;
        if (runs === 1) throw new Error('wrong password');
        const listing = out.listing();
        listing.add([service('s', [])]);
        listing.commit(cause('test'));
        if (runs === 2) throw new Error('connection reset');
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
    await until('the first error', () => supervisor.status().error === 'wrong password');
    expect(supervisor.status().state).to.equal('failed');
    await until('the second error', () => supervisor.status().state === 'stale');
    expect(view.said.size).to.equal(1);
    await until('that it is live again', () => supervisor.status().state === 'live');
    expect(supervisor.status()).to.include({ runs: 3, errors: 2, error: undefined });
    await supervisor.stop();
  });

  it('notices a silent source, and that it speaks again', async () => {
    let output: SourceOutput | undefined;
    const { supervisor } = supervise(
      {
        run: async (out, signal) => {
          output = out;
          out.listing().commit(cause('test'));
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        },
      },
      80,
    );
    await until('that it is live', () => supervisor.status().state === 'live');
    await until('that it is stale', () => supervisor.status().state === 'stale');
    expect(supervisor.status().error).to.match(/^no sign of life/);
    output?.alive();
    expect(supervisor.status().state).to.equal('live');
    await supervisor.stop();
  });
});
