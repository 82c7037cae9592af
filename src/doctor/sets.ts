import type { ResourceReport } from '#admin/report.js';
import { isServed } from '#catalog/shards.js';
import type { ListenerConfig } from '#config/istio.js';
import type { Config } from '#config/schema.js';
import { view } from '#sinks/view.js';

/** Which of the resources a listener shows: all of its shards together that this process serves. */
export function shownBy(
  { when }: Pick<ListenerConfig, 'when'>,
  { istio: { kubernetes, serve } }: Pick<Config, 'istio'>,
  resources: readonly ResourceReport[],
): ResourceReport[] {
  const isSeen = view(when);
  const isObjectOnly = kubernetes === undefined || kubernetes.keepOnXds ? () => false : view(kubernetes.when);
  return resources.filter((one) => isServed(one.mesh.host, serve) && isSeen(one) && !isObjectOnly(one));
}
