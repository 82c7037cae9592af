import type { ResourceReport } from '#admin/report.js';
import { isServed } from '#catalog/shards.js';
import type { ListenerConfig } from '#config/istio.js';
import type { Config } from '#config/schema.js';
import { meshCondition } from '#policy/expression.js';

/** Which of the resources a listener shows: all of its shards together that this process serves. */
export function shownBy(
  { when }: Pick<ListenerConfig, 'when'>,
  { istio: { kubernetes, serve } }: Pick<Config, 'istio'>,
  resources: readonly ResourceReport[],
): ResourceReport[] {
  const isShown = when === undefined ? () => true : meshCondition(when);
  const isTaken =
    kubernetes === undefined || kubernetes.keepOnXds
      ? () => false
      : kubernetes.when === undefined
        ? () => true
        : meshCondition(kubernetes.when);
  return resources.filter(
    ({ mesh }) => isServed(mesh.host, serve) && isShown({ mesh: scope(mesh) }) && !isTaken({ mesh: scope(mesh) }),
  );
}

/** In the form in which expressions take it. */
function scope({ registries, ...mesh }: ResourceReport['mesh']) {
  return { ...mesh, registries: [...registries] };
}
