import { hostPortText } from '#config/fields.js';
import type { ListenerConfig } from '#config/istio.js';
import type { Config } from '#config/schema.js';
import { addressesOf, placeOf } from '#istio/meshconfig.js';
import { isLoopback } from '#model/address.js';
import { counted, type Finding, listed, type Subject } from './finding.js';
import { isWildcard } from './listeners.js';

/** An entry of configSources as istiod's debug page shows it. */
export interface IstiodSource {
  readonly address?: string;
  readonly tlsSettings?: { readonly mode?: string };
}

/** An `xds://` source. */
interface XdsSource {
  readonly text: string;
  readonly host: string;
  readonly port: number;
  readonly mode: string;
}

/** What istiod's configSources come to, beside ours. */
export interface Comparison {
  readonly findings: readonly Finding[];
  /** Listeners of which istiod names at least one shard. */
  readonly read: readonly ListenerConfig[];
}

/** Compares istiod's configSources with our listeners. */
export function compareSources(
  sources: readonly IstiodSource[],
  { istio }: Pick<Config, 'istio'>,
  subject: Subject,
): Comparison {
  const xds = sources.flatMap(parsed);
  const findings: Finding[] = [];
  const read: ListenerConfig[] = [];
  const claimed = new Set<XdsSource>();
  for (const listener of istio.xds) {
    const place = placeOf(listener, istio.serve);
    const shards = place.ports.map((port, shard) => {
      const isOurs = istio.serve === undefined || (shard >= istio.serve.from && shard <= istio.serve.to);
      return xds.filter((source) => source.port === port && (!isOurs || mayBeHostOf(listener, source.host)));
    });
    const listedOnes = shards.flat();
    if (listedOnes.length === 0) continue;
    read.push(listener);
    for (const source of listedOnes) claimed.add(source);
    findings.push(...ofListener(listener, shards, addressesOf(place), subject));
  }
  const strangers = xds.filter((source) => !claimed.has(source));
  findings.push(...ofStrangers(strangers, istio, read, subject));
  if (!sources.some(({ address = '' }) => address.startsWith('k8s://')) && sources.length > 0)
    findings.push(withoutKubernetes(istio.kubernetes !== undefined, subject));
  return { findings, read };
}

function parsed({ address = '', tlsSettings }: IstiodSource): XdsSource[] {
  const match = /^xds:\/\/(\[[^\]]+\]|[^:/]+):(\d+)/.exec(address);
  if (match?.[1] === undefined) return [];
  const host = match[1].replace(/^\[|\]$/g, '').toLowerCase();
  return [{ text: address, host, port: Number(match[2]), mode: tlsSettings?.mode ?? 'DISABLE' }];
}

/** Whether a source may mean this listener's machine. Of one that listens everywhere and does not say how it is reached, every name may be right. */
function mayBeHostOf(listener: ListenerConfig, host: string): boolean {
  const { listen, address } = listener;
  return isHostOf(listener, host) || (address === undefined && (listen.host === '0.0.0.0' || listen.host === '::'));
}

/** Whether a source means this listener's machine for sure. */
function isHostOf({ listen, address }: ListenerConfig, host: string): boolean {
  return [address, listen.host].some(
    (own) => own !== undefined && (own.toLowerCase() === host || (isLoopback(own) && isLoopback(host))),
  );
}

function ofListener(
  listener: ListenerConfig,
  shards: readonly (readonly XdsSource[])[],
  addresses: readonly string[],
  subject: Subject,
): Finding[] {
  const findings: Finding[] = [];
  const restart =
    'correct meshConfig (the fragment below), and restart istiod: it reads configSources only when it starts';
  const missing = addresses.filter((_, shard) => shards[shard]?.length === 0);
  if (missing.length > 0)
    findings.push(
      subject.fail(`${counted(missing.length, 'shard')} of ${addresses.length} not in its configSources`, {
        expected: listed(missing),
        advice: `${restart}. The services of these shards are missing in the mesh`,
      }),
    );
  const twice = shards.flatMap((sources) => {
    const texts = sources.map(({ text }) => text);
    // Where our own name is not known, another host with our port may be another Pontoon.
    const isKnown = listener.address !== undefined || !isWildcard(listener.listen.host);
    const isTwice = isKnown ? texts.length > 1 : new Set(texts).size < texts.length;
    return isTwice ? texts.slice(0, 1) : [];
  });
  if (twice.length > 0)
    findings.push(
      subject.fail(`listed twice: ${listed(twice)}`, {
        expected: 'each shard once: one name lives in one source',
        advice: restart,
      }),
    );
  const wanted = listener.tls === undefined ? 'DISABLE' : 'SIMPLE';
  const wrong = shards.flat().filter(({ mode }) => (mode === 'SIMPLE') !== (wanted === 'SIMPLE'));
  if (wrong.length > 0)
    findings.push(
      subject.fail(
        `tlsSettings.mode of ${listed(
          wrong.map(({ text, mode }) => `${text} is ${mode}`),
          2,
        )}`,
        {
          expected:
            wanted === 'SIMPLE'
              ? 'SIMPLE: istiod takes every other mode, MUTUAL too, for plaintext'
              : 'DISABLE: this listener has no tls',
          advice: restart,
        },
      ),
    );
  if (findings.length === 0)
    findings.push(
      subject.ok(
        `reads listener ${hostPortText(listener.listen)}: ${addresses.length === 1 ? 'its one address' : `all ${addresses.length} shards`}`,
      ),
    );
  return findings;
}

function ofStrangers(
  strangers: readonly XdsSource[],
  istio: Config['istio'],
  read: readonly ListenerConfig[],
  subject: Subject,
): Finding[] {
  const advice = 'correct meshConfig (the fragment below), and restart istiod';
  // Our machine, and a port that is none of ours: an old one.
  const elsewhere = strangers.filter(({ host }) => istio.xds.some((listener) => isHostOf(listener, host)));
  const findings = elsewhere.map(({ text }) =>
    subject.fail(`its configSources point to ${text}, where none of our listeners is`, {
      expected: istio.xds
        .map(({ listen, shards }) =>
          shards === 1 ? `port ${listen.port}` : `ports ${listen.port} to ${listen.port + shards - 1}`,
        )
        .join(', or '),
      advice: `${advice}: one source that is absent keeps an istiod from starting`,
    }),
  );
  if (istio.xds.length === 0 || read.length > 0 || findings.length > 0) return findings;
  const first = istio.xds[0] as ListenerConfig;
  const found =
    strangers.length === 0 ? 'no xds:// source' : `other ones: ${listed(strangers.map(({ text }) => text))}`;
  const judge = istio.kubernetes === undefined && istio.files === undefined ? 'fail' : 'warn';
  return [
    subject[judge](`none of our listeners is in its configSources; there is ${found}`, {
      expected: listed(addressesOf(placeOf(first, istio.serve))),
      advice: `${advice}; if one of them is ours under another name, set istio.xds.address${judge === 'warn' ? '. If it reads objects or files only, say xds: []' : ''}`,
    }),
  ];
}

function withoutKubernetes(hasSink: boolean, subject: Subject): Finding {
  const found = 'k8s:// is not among its configSources';
  const advice = 'add it to meshConfig, and restart istiod';
  if (hasSink) return subject.fail(found, { expected: 'k8s://, since Pontoon writes objects there', advice });
  return subject.warn(found, {
    expected: "k8s://, if Istio's resources in Kubernetes are in use: a list replaces that default",
    advice,
  });
}
