import { hostPortText } from '#config/fields.js';
import { adviseShards, costText } from '#istio/meshconfig.js';
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
      // Of a part of the shards the rest is taken to hold as much.
      const { serve } = config.istio;
      const parts = serve === undefined ? 1 : serve.of / (serve.to - serve.from + 1);
      const size = {
        services: Math.round(shown.length * parts),
        endpoints: Math.round(shown.reduce((sum, { addresses }) => sum + addresses.length, 0) * parts),
      };
      const advice = adviseShards(size, listener.shards);
      const held = `${counted(listener.shards, 'shard')} for ${counted(size.services, 'service')} and ${counted(size.endpoints, 'endpoint')}`;
      const found = `${held}: a change costs istiod ${costText(advice.now)} of CPU`;
      if (listener.shards >= advice.shards) return subject.ok(found);
      return subject.warn(found, {
        expected: `${advice.shards} shards, with which it is ${costText(advice.cost)}`,
        advice: `add a listener with shards: ${advice.shards} beside this one, move istiods to it as they are restarted, and then take this one away`,
      });
    });
  },
};
