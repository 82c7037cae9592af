import type { Known, KnownHold } from '#snapshot/known.js';
import { random } from '#test/random.js';
import { instance, service } from './builders.js';

/** Texts that formats stumble over: line ends, quotes, half surrogate pairs, other scripts, names of what every object has. */
const oddTexts = [
  '',
  '\n',
  '\u2028',
  '"\\',
  '\u0000',
  '\ud800',
  'ключ',
  '注册中心',
  '🛟',
  '__proto__',
  'a'.repeat(300),
];

/** Known services of one registry, each of them different, with what is optional here and there. */
export function knownOf(count: number, savedAt = 1_700_000_000_000): Known {
  const next = random(count);
  const odd = () => oddTexts[next(oddTexts.length)] ?? '';
  const services = Array.from({ length: count }, (_, index) => {
    const instances = Array.from({ length: next(5) }, (_, number) =>
      instance(`10.0.${index % 256}.${number}`, 1 + next(65_535), {
        id: `${odd()}${index}`,
        zone: odd(),
        weight: next(7) === 0 ? Number.POSITIVE_INFINITY : next(200) / 8,
        metadata: Object.fromEntries([
          [odd(), odd()],
          [`key-${number}`, odd()],
        ]),
        ...(next(2) === 0 ? { locality: 'cn/sh', network: odd() } : {}),
        ...(next(3) === 0 ? { warmup: { since: 1_700_000_000_123.5, length: 600_000 } } : {}),
      }),
    );
    return service(`${odd()}${index}`, instances, {
      metadata: { [odd()]: odd() },
      ports: [{ name: odd(), protocol: 'tri', number: 20_880 }],
      rejected: next(4) === 0 ? [{ record: odd(), reason: 'odd' }] : [],
      consumers: next(4) === 0 ? [{ application: odd(), address: '10.9.9.9' }] : [],
      ...(next(4) === 0 ? { notes: [{ record: odd(), text: odd() }] } : {}),
    });
  });
  const hold: KnownHold = {
    scope: 'registry',
    service: undefined,
    since: savedAt - 60_000,
    left: 540_000,
    dead: 2,
    reason: '30 of 50 instances went within 5 minutes',
    instances: Array.from({ length: count }, (_, index) => ({
      service: `r///${index}/`,
      place: `10.0.0.1 ${index}`,
      why: 'gone',
    })),
  };
  return {
    savedAt,
    registries: [
      {
        name: 'r',
        type: 'test',
        source: '1f',
        services,
        holds: [hold, { ...hold, scope: 'service', service: 'r///1/', left: 0 }],
      },
      { name: 'none', type: 'file', source: '2e', services: [], holds: [] },
    ],
    empty: [
      { service: emptied('gone.test'), left: 299_000 },
      { service: { ...emptied('held.test'), revision: 'canary', origins: [service('held', []).key] }, left: undefined },
    ],
  };
}

function emptied(host: string) {
  return {
    host,
    namespace: 'pontoon',
    exportTo: ['*'],
    location: 'internal' as const,
    revision: undefined,
    vips: ['241.0.0.1', '2001:2::1'],
    ports: [{ name: 'http', number: 80, protocol: 'http' as const }],
    identities: [],
    native: false,
    resolution: 'static' as const,
    uniform: true,
    endpoints: [],
    unreachable: [],
    origins: [],
  };
}
