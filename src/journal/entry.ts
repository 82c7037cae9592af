import { type Endpoint, endpointKey, endpointPlace, type MeshPort, type MeshService } from '#model/mesh.js';

/** A change of one endpoint, and why. */
export interface EndpointChange {
  /** `address:port`. */
  readonly endpoint: string;
  readonly text: string;
}

/** What happened to one host, or to one registry, at one moment. */
export interface Entry {
  /** ms since 1970. */
  readonly at: number;
  /** Empty where it is about a registry as a whole. */
  readonly host: string;
  /** The registry that it came from; empty where it came from the configuration or from time passing. */
  readonly registry: string;
  /** What the registry told us: a poll, a push, a watch. */
  readonly cause: string;
  readonly text: string;
  readonly endpoints: readonly EndpointChange[];
}

/** What became of a host; undefined if nothing that anybody can see. @param whyGone says why an endpoint went */
export function hostEntry(
  before: MeshService | undefined,
  after: MeshService | undefined,
  whyGone: (endpoint: Endpoint) => string,
): Pick<Entry, 'text' | 'endpoints'> | undefined {
  const texts = hostTexts(before, after);
  const endpoints = endpointChanges(before?.endpoints ?? [], after?.endpoints ?? [], whyGone);
  if (texts.length === 0 && endpoints.length === 0) return undefined;
  const count = after?.endpoints.length ?? 0;
  if (endpoints.length > 0) texts.push(`${count} endpoint${count === 1 ? '' : 's'} now`);
  return { text: texts.join('; '), endpoints };
}

function hostTexts(before: MeshService | undefined, after: MeshService | undefined): string[] {
  if (after === undefined) return before === undefined ? [] : ['deleted'];
  if (before === undefined) return ['appeared'];
  const texts: string[] = [];
  if (before.origins.length > 0 && after.origins.length === 0) texts.push('gone: no registry holds it any more');
  if (before.origins.length === 0 && after.origins.length > 0) texts.push('back');
  const fields: [string, (service: MeshService) => string][] = [
    ['ports', ({ ports }) => ports.map(portText).join(', ')],
    ['namespace', ({ namespace }) => namespace],
    ['exportTo', ({ exportTo }) => exportTo.join(', ')],
    ['addresses', ({ vips }) => vips.join(', ')],
    ['resolution', ({ resolution }) => resolution],
    ['location', ({ location }) => location],
    ['revision', ({ revision }) => revision ?? 'all'],
  ];
  for (const [name, read] of fields) {
    const [was, is] = [read(before), read(after)];
    if (was !== is) texts.push(`${name} ${was || 'none'} → ${is || 'none'}`);
  }
  return texts;
}

function portText({ number, name }: MeshPort): string {
  return `${number} ${name}`;
}

function endpointChanges(
  before: readonly Endpoint[],
  after: readonly Endpoint[],
  whyGone: (endpoint: Endpoint) => string,
): EndpointChange[] {
  const known = new Map(before.map((endpoint) => [endpointKey(endpoint), endpoint]));
  const changes: EndpointChange[] = [];
  for (const endpoint of after) {
    const key = endpointKey(endpoint);
    const was = known.get(key);
    known.delete(key);
    const text = was === undefined ? 'added' : was === endpoint ? '' : difference(was, endpoint);
    if (text !== '') changes.push({ endpoint: endpointPlace(endpoint), text });
  }
  for (const endpoint of known.values())
    changes.push({ endpoint: endpointPlace(endpoint), text: `removed: ${whyGone(endpoint)}` });
  return changes;
}

function difference(was: Endpoint, is: Endpoint): string {
  const fields: [string, (endpoint: Endpoint) => string][] = [
    ['weight', ({ weight }) => String(weight)],
    ['draining', ({ draining }) => String(draining)],
    ['locality', ({ locality }) => locality ?? 'none'],
    ['network', ({ network }) => network ?? 'none'],
    ['service account', ({ serviceAccount }) => serviceAccount ?? 'none'],
    ['identity', ({ identity }) => identity ?? 'none'],
    ['labels', ({ labels }) => JSON.stringify(labels)],
  ];
  return fields
    .map(([name, read]) => [name, read(was), read(is)] as const)
    .filter(([, a, b]) => a !== b)
    .map(([name, a, b]) => `${name} ${a} → ${b}`)
    .join(', ');
}
