import { hostPortText } from '#config/fields.js';
import type { IstioConfig, ListenerConfig, Serve } from '#config/istio.js';

/** One source of configuration of an istiod, as it stands in its meshConfig. */
export interface ConfigSource {
  readonly address: string;
  readonly tlsSettings?: TlsSettings;
}

/** What istiod reads of a source's tlsSettings. */
export interface TlsSettings {
  /** istiod knows TLS without a certificate of its own only: it takes every other mode, MUTUAL too, for plaintext. */
  readonly mode: 'DISABLE' | 'SIMPLE';
  /** The name to expect in the certificate; the address's host unless given. */
  readonly sni?: string;
  /** The authorities' certificates themselves, PEM: a path is not read. The system's unless given. */
  readonly caCertificates?: string;
}

/** Where a listener's shards are, and which of them this process holds. */
export interface ListenerPlace {
  /** The host under which istiod reaches it. */
  readonly host: string;
  /** The port of each shard, by its number. */
  readonly ports: readonly number[];
  /** The shards that this process holds; all unless given. */
  readonly serve?: Serve | undefined;
}

/** Where the configuration puts a listener. @param ports those that were bound, where the configuration says 0 */
export function placeOf(
  { listen, shards, address }: ListenerConfig,
  serve?: Serve,
  ports?: readonly number[],
): ListenerPlace {
  const configured = Array.from({ length: shards }, (_, shard) => listen.port + shard);
  return { host: address ?? listen.host, ports: listen.port === 0 ? (ports ?? []) : configured, serve };
}

/** The addresses of a listener's shards, in their order; where another process holds one, only its port is known. */
export function addressesOf({ host, ports, serve }: ListenerPlace): string[] {
  return ports.map((port, shard) => {
    const isOurs = serve === undefined || (shard >= serve.from && shard <= serve.to);
    return `xds://${hostPortText({ host: isOurs ? reachable(host) : '<the Pontoon of this shard>', port })}`;
  });
}

function reachable(host: string): string {
  return host === '0.0.0.0' || host === '::' ? '<this host>' : host;
}

/** What istiod needs to know to speak to a listener. @param authority PEM of the authority that vouches for its certificate */
export function tlsSettingsOf({ tls }: Pick<ListenerConfig, 'tls'>, authority?: string): TlsSettings {
  if (tls === undefined) return { mode: 'DISABLE' };
  return { mode: 'SIMPLE', ...(authority === undefined ? {} : { caCertificates: authority }) };
}

/** What the fragment's writer has to look up elsewhere. */
export interface FragmentContext {
  /** Ports that were bound, by listener; for those that the configuration leaves open. */
  readonly ports?: readonly (readonly number[])[];
  /** PEM of the authority that vouches for a listener's certificate; undefined if it is not known. */
  readonly authority?: (listener: ListenerConfig) => string | undefined;
}

/** The part of istiod's meshConfig that makes it read this Pontoon: YAML with comments; one document for each listener, as one istiod reads one of them. */
export function meshConfigFragment(istio: IstioConfig, { ports, authority }: FragmentContext = {}): string {
  const documents = istio.xds.map((listener, index) =>
    ofListener(istio, listener, placeOf(listener, istio.serve, ports?.[index]), authority?.(listener)),
  );
  if (documents.length === 0) documents.push(withoutListener(istio));
  const most = documents.length;
  return documents
    .map((document, index) =>
      most === 1 ? document : `# Listener ${index + 1} of ${most}; an istiod reads one of them.\n${document}`,
    )
    .join('---\n');
}

function ofListener(
  istio: IstioConfig,
  listener: ListenerConfig,
  place: ListenerPlace,
  authority: string | undefined,
): string {
  const { tls, when, shards } = listener;
  const addresses = addressesOf(place);
  const lines = [
    "# For istiod's meshConfig. istiod reads configSources when it starts: restart it, and do so only while every one of them is listening.",
  ];
  if (shards > 1) lines.push(`# All ${shards} shards belong together: without one, its services are missing.`);
  if (when !== undefined) lines.push(`# Shows only services with ${oneLine(when)}.`);
  if (tls?.clientCa !== undefined)
    lines.push(
      '# istiod has no client certificate for its sources, and this listener demands one: put an Envoy that has one beside istiod, or leave clientCa out.',
    );
  lines.push('configSources:');
  if (addresses.length === 0) lines.push('  # istio.xds.listen has port 0: the number is known when Pontoon runs.');
  for (const [index, address] of addresses.entries()) {
    lines.push(`  - address: ${quoted(address)}`);
    if (tls === undefined) lines.push('    tlsSettings: { mode: DISABLE }');
    else if (index > 0) lines.push('    tlsSettings: *pontoon');
    else lines.push(...simpleTls(authority));
  }
  lines.push(...otherSources(istio));
  return `${lines.join('\n')}\n`;
}

/** The settings of TLS, written once. */
function simpleTls(authority: string | undefined): string[] {
  const head = ['    tlsSettings: &pontoon', '      mode: SIMPLE  # MUTUAL is taken for plaintext'];
  if (authority === undefined)
    return [
      ...head,
      "      # The system's authorities have to vouch for Pontoon's certificate; else add its authority's text (istiod reads no path here):",
      '      # caCertificates: |',
      '      #   -----BEGIN CERTIFICATE-----',
    ];
  return [
    ...head,
    '      caCertificates: |',
    ...authority
      .trim()
      .split('\n')
      .map((line) => `        ${line}`),
  ];
}

/** Sources beside a listener. */
function otherSources({ files, kubernetes }: IstioConfig): string[] {
  const lines: string[] = [];
  if (files !== undefined)
    lines.push(
      `  # Instead of xds://, the files sink's directory, where istiod sees it:`,
      `  # - address: ${quoted(`fs://${files.directory}`)}`,
    );
  lines.push(
    kubernetes === undefined
      ? "  # A list replaces istiod's default source: without this line it reads none of Istio's resources in Kubernetes."
      : "  # A list replaces istiod's default source: without this line it reads nothing in Kubernetes, Pontoon's objects there included.",
    '  - address: k8s://',
  );
  return lines;
}

function withoutListener(istio: IstioConfig): string {
  if (istio.files === undefined)
    return "# Nothing is to be set: istiod reads Pontoon's objects in Kubernetes by itself. If configSources are set, k8s:// has to be among them.\n";
  const { directory } = istio.files;
  const lines = [
    "# For istiod's meshConfig. istiod reads configSources when it starts: restart it.",
    'configSources:',
    "  # The files sink's directory, where istiod sees it: on the same machine, or by a volume.",
    `  - address: ${quoted(`fs://${directory}`)}`,
    ...otherSources({ ...istio, files: undefined }),
  ];
  return `${lines.join('\n')}\n`;
}

function quoted(text: string): string {
  return /^[\w./:-]+$/.test(text) ? text : JSON.stringify(text);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}

/** How much a catalog holds. */
export interface CatalogSize {
  readonly services: number;
  readonly endpoints: number;
}

/** How many shards are right, and why. */
export interface ShardAdvice {
  readonly shards: number;
  /** What istiod does for one change then, in ms of its CPU. */
  readonly cost: number;
  /** The same with the number of shards that was asked about. */
  readonly now: number;
}

/**
 * istiod decodes a source's whole set for each change in it. Measured (`npm run bench -- --only 'real istiod'`): about 300 ms of its CPU with 10,000 services × 10 in one source, and next
 * to a proportional part of it with more sources; a service costs about as much as an endpoint.
 */
const costPerItem = 285 / 110_000;
/** ms of istiod's CPU for one change that are well spent: at five changes a second a tenth of a core. */
const wellSpent = 20;
/** More only make istiod's start slower: each is a connection that it waits for. */
const mostUseful = 64;

/** What number of shards fits a catalog: the least power of two with which a change costs istiod at most 20 ms. */
export function adviseShards({ services, endpoints }: CatalogSize, shards = 1): ShardAdvice {
  const whole = (services + endpoints) * costPerItem;
  let advised = 1;
  while (advised < mostUseful && whole / advised > wellSpent * 1.1) advised *= 2;
  return { shards: advised, cost: whole / advised, now: whole / shards };
}

/** What a change costs, for people. @param ms of istiod's CPU */
export function costText(ms: number): string {
  return ms < 1 ? 'less than 1 ms' : `about ${Math.round(ms)} ms`;
}

/** For the log: that a listener has too few shards for a catalog; undefined if it has enough. */
export function shardsHint(size: CatalogSize, shards: number): string | undefined {
  const advice = adviseShards(size, shards);
  if (shards >= advice.shards) return undefined;
  return `shards: ${shards} for ${size.services} services and ${size.endpoints} endpoints: each change costs istiod ${costText(advice.now)} of CPU; with shards: ${advice.shards} it is ${costText(advice.cost)}`;
}
