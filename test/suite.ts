import Mocha from 'mocha';

/** What a suite's process tells its parent: one message per test, one before each second try of a test, and one at the end. */
export type SuiteMessage =
  | { readonly kind: 'passed' | 'skipped' | 'end' }
  | { readonly kind: 'failed' | 'retried'; readonly title: string; readonly message: string };

const TEST_TIMEOUT_MS = 120_000;
const LEAVE_TIMEOUT_MS = 10_000;

// Runs the test files given as arguments, printing as mocha's spec reporter does. Started by run.ts. The first argument: how often a test that failed is
// tried again.
const [retries, ...files] = process.argv.slice(2);
const mocha = new Mocha({ timeout: TEST_TIMEOUT_MS, retries: Number(retries), reporter: 'spec' });
for (const file of files) mocha.addFile(file);
await mocha.loadFilesAsync();
mocha
  .run((failures) => leave(failures > 0 ? 1 : 0))
  .on('pass', () => tell({ kind: 'passed' }))
  .on('pending', () => tell({ kind: 'skipped' }))
  .on('retry', (test, error: Error) => tellOf('retried', test, error))
  .on('fail', (test, error: Error) => tellOf('failed', test, error));

function tellOf(kind: 'failed' | 'retried', test: Mocha.Test, { message }: Error): void {
  tell({ kind, title: test.fullTitle(), message });
}

function tell(message: SuiteMessage): void {
  process.send?.(message);
}

/** Lets the process end by itself, as it does when the tests have closed everything; helps when they have not. */
function leave(exitCode: number): void {
  process.exitCode = exitCode;
  process.send?.({ kind: 'end' } satisfies SuiteMessage, () => process.disconnect?.());
  setTimeout(() => {
    console.log(`something was left open: ${process.getActiveResourcesInfo().join(', ')}`);
    process.exit();
  }, LEAVE_TIMEOUT_MS).unref();
}
