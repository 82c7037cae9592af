import { type ApiOptions, ask } from './api.js';

/** `pontoon release REGISTRY [SERVICE]`: ends holds, or the waiting for a registry, in all replicas. */
export async function release(
  registry: string,
  service: string | undefined,
  options: ApiOptions & { readonly start?: boolean },
): Promise<void> {
  const path = options.start ? 'start/release' : 'guards/release';
  await ask(options, path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ registry, ...(service === undefined ? {} : { service }) }),
  });
  process.stdout.write(options.start ? `${registry} is not waited for\n` : 'released\n');
}
