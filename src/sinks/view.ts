import type { EncodedResource } from '#istio/resource.js';
import { meshCondition } from '#policy/expression.js';

/** The resources whose service fulfils a condition of the configuration; all, if there is none. @throws ExpressionError */
export function view(when: string | undefined): (resource: Pick<EncodedResource, 'mesh'>) => boolean {
  if (when === undefined) return () => true;
  const condition = meshCondition(when);
  return ({ mesh }) => condition({ mesh }) ?? false;
}
