import type { SourceChanges } from '../registries.js';
import { type ApiOptions, ask } from './api.js';

/** `pontoon reload`: lets a running Pontoon take over its configuration as it is now. */
export async function reload(options: ApiOptions): Promise<void> {
  const changes = (await ask(options, 'configuration/reload', { method: 'POST' })) as SourceChanges;
  const lines = Object.entries(changes).filter(([, names]) => names.length > 0);
  const text = lines.map(([what, names]) => `registries ${what}: ${names.join(', ')}\n`);
  process.stdout.write(`taken over\n${text.join('')}`);
}
