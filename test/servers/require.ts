import { isInstalled, recipeNamed } from '#test/servers/cache.js';
import { install } from '#test/servers/install.js';

/**
 * For `before` hooks: the tests behind it need these servers installed. With `CI=true` missing ones
 * are installed now; otherwise the tests are skipped, and what is missing is printed.
 *
 * @param context the hook's `this`
 * @throws Error when `CI=true` and a server cannot be installed
 */
export async function requireServers(context: Mocha.Context, ...names: string[]): Promise<void> {
  const missing = names.filter((name) => !isInstalled(recipeNamed(name)));
  if (missing.length === 0) return;
  if (process.env.CI !== 'true') {
    console.log(`skipped, not installed: ${missing.join(', ')} (npm run servers:install -- ${missing.join(' ')})`);
    context.skip();
  }
  context.timeout(0);
  const results = await install(missing, (line) => console.log(line));
  const errors = results.flatMap(({ error }) => error ?? []);
  if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => error.message).join('\n'));
}
