import type { Warmup } from '#model/service.js';

/** Each step is a push: so few. */
const steps = 10;

/** A share of a weight, and when it grows. */
export interface Warm {
  /** Above 0, at most 1. */
  readonly share: number;
  /** ms since 1970; undefined when it is warm. */
  readonly until: number | undefined;
}

/**
 * How much of its weight an instance has: Dubbo's straight line (`AbstractLoadBalance.calculateWarmupWeight`), in steps that each have the line's mean. One that
 * starts in the future by more than its whole warm-up has another clock than ours, and counts as warm.
 * @param now ms since 1970
 */
export function warmth(warmup: Warmup | undefined, now: number): Warm {
  if (warmup === undefined) return { share: 1, until: undefined };
  const { since, length } = warmup;
  const passed = now - since;
  if (passed >= length || passed < -length) return { share: 1, until: undefined };
  const step = Math.max(0, Math.floor((passed / length) * steps));
  return { share: (step + 0.5) / steps, until: Math.ceil(since + ((step + 1) / steps) * length) };
}
