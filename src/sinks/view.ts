import { meshCondition } from '#policy/expression.js';
import type { ResourceFilter } from './contract.js';

/** The resources whose service fulfils a condition of the configuration; all, if there is none. @throws ExpressionError */
export function view(when: string | undefined): ResourceFilter {
  if (when === undefined) return () => true;
  const condition = meshCondition(when);
  return ({ mesh }) => condition({ mesh }) ?? false;
}
