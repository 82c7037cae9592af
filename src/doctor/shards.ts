import { hostPortText } from '#config/fields.js';
import { adviseShards } from '#istio/meshconfig.js';
import { counted, Subject } from './finding.js';
import type { Check } from './patient.js';
import { shownBy } from './sets.js';

/** Whether the number of shards fits what the catalog holds. */
export const shardsCheck: Check = {
  name: 'shards',
  examine: async ({ config, running }) => {
    if (running === undefined) return [];
    return config.istio.xds.map((listener) => {
      const subject = new Subject(`shards of listener ${hostPortText(listener.listen)}`);
      const shown = shownBy(listener, config, running.resources);
      const size = {
        services: shown.length,
        endpoints: shown.reduce((sum, { addresses }) => sum + addresses.length, 0),
      };
      const advice = adviseShards(size, listener.shards);
      const held = `${counted(listener.shards, 'shard')} for ${counted(size.services, 'service')} and ${counted(size.endpoints, 'endpoint')}`;
      const found = `${held}: a change costs istiod ${cost(advice.now)} of CPU`;
      if (listener.shards >= advice.shards) return subject.ok(found);
      return subject.warn(found, {
        expected: `${advice.shards} shards, with which it is ${cost(advice.cost)}`,
        advice: `add a listener with shards: ${advice.shards} beside this one, move istiods to it as they are restarted, and then take this one away`,
      });
    });
  },
};

function cost(ms: number): string {
  return ms < 1 ? 'less than 1 ms' : `about ${Math.round(ms)} ms`;
}
