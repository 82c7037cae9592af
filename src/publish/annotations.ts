import type { Metadata } from '#model/service.js';

/** Annotations of a Kubernetes Service that say how it is published; its source shows them among the service's labels. */
export const annotations = {
  /** `false`, or a list of names of publications and of registries that they go to: others leave it out. */
  publish: 'pontoon.io/publish',
  /** Its name there, instead of the publication's `as`. */
  as: 'pontoon.io/publish-as',
  /** Name or number of its port, instead of the publication's `port`. */
  port: 'pontoon.io/publish-port',
} as const;

/** Why a service's own annotation keeps it out of a publication; undefined if it does not. */
export function keptOut(
  labels: Metadata,
  { name, to }: { readonly name: string; readonly to: string },
): string | undefined {
  const said = labels[annotations.publish]?.trim();
  if (said === undefined || said === '' || said === 'true') return undefined;
  if (said === 'false') return `its annotation ${annotations.publish} is "false"`;
  const named = said.split(',').map((one) => one.trim());
  return named.includes(name) || named.includes(to)
    ? undefined
    : `its annotation ${annotations.publish} names ${named.join(', ')} only`;
}
