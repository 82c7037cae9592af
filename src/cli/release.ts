import { type ApiOptions, ask, CommandError } from './api.js';

/** `pontoon release REGISTRY [SERVICE]`: ends holds, or the waiting for a registry, in all replicas. */
export async function release(
  registry: string,
  service: string | undefined,
  options: ApiOptions & { readonly start?: boolean },
): Promise<void> {
  if (options.start && service !== undefined) throw new CommandError('--start is for a registry, not for a service');
  const path = options.start ? 'start/release' : 'guards/release';
  const { held } = (await ask(options, path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ registry, ...(service === undefined ? {} : { service }) }),
  })) as { readonly held?: number };
  process.stdout.write(
    options.start ? `${registry} is not waited for\n` : `released in all replicas; ${held} instances were held here\n`,
  );
}
