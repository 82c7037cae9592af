import { contains, ipOf, rangeOf } from '#policy/cidr.js';
import { listed, Subject } from './finding.js';
import type { Check } from './patient.js';

/** Whether the virtual addresses could be somebody's real ones: then the mesh would take that traffic. */
export const vipsCheck: Check = {
  name: 'virtual addresses',
  examine: async ({ config, running }) => {
    const { vip } = config.istio;
    if (vip === 'off') return [];
    const subject = new Subject('istio.vip');
    const ranges = vip.ranges.map((text) => ({ text, range: rangeOf(text) }));
    const rangesOf = (address: string) => {
      const ip = ipOf(address);
      return ip === undefined ? [] : ranges.filter(({ range }) => contains(range, ip)).map(({ text }) => text);
    };
    const advice = 'choose istio.vip.ranges that nothing else uses';
    const networks = Object.entries(config.networks).flatMap(([name, { cidrs = [] }]) =>
      cidrs.flatMap((cidr) => {
        const other = rangeOf(cidr);
        const overlapping = ranges
          .filter(({ range }) => contains(range, other[0]) || contains(other, range[0]))
          .map(({ text }) => text);
        return overlapping.map((text) => subject.fail(`${text} overlaps ${cidr} of network ${name}`, { advice }));
      }),
    );
    const inside = new Map<string, string[]>();
    for (const { name, addresses } of running?.resources ?? [])
      for (const address of addresses)
        for (const text of rangesOf(address)) inside.set(text, [...(inside.get(text) ?? []), `${address} (${name})`]);
    const real = [...inside].map(([text, found]) =>
      subject.fail(`instances have addresses in ${text}: ${listed(found)}`, { advice }),
    );
    return networks.length + real.length > 0
      ? [...networks, ...real]
      : [subject.ok('no real address that is known lies in its ranges')];
  },
};
