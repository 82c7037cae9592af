import { reasonOf } from '#model/reason.js';
import { clocksCheck } from './clocks.js';
import { within } from './dial.js';
import type { Finding } from './finding.js';
import { Subject } from './finding.js';
import { istiodCheck } from './istiod.js';
import { kubernetesCheck } from './kubernetes.js';
import { listenersCheck } from './listeners.js';
import type { Check, Patient } from './patient.js';
import { registriesCheck } from './registries.js';
import { shardsCheck } from './shards.js';
import { guardsCheck, stateCheck } from './state.js';
import { vipsCheck } from './vips.js';

/** All checks, in the order in which they are printed. */
const checks: readonly Check[] = [
  registriesCheck,
  guardsCheck,
  listenersCheck,
  istiodCheck,
  shardsCheck,
  kubernetesCheck,
  clocksCheck,
  stateCheck,
  vipsCheck,
];

/** ms that a check may take beside single questions: it asks several of them, one after the other. */
const questionsAtMost = 3;

/** Makes all checks side by side. Ends in time, whatever hangs. */
export async function examine(patient: Patient): Promise<Finding[]> {
  const limit = patient.limitMs * questionsAtMost;
  const found = await Promise.all(
    checks.map(({ name, examine }) =>
      within(examine(patient), limit).catch((error: unknown) => [
        new Subject(name).unknown(`the check did not end well: ${reasonOf(error)}`, {
          advice: 'ask again with a longer --timeout',
        }),
      ]),
    ),
  );
  return found.flat();
}

/** 0: all well, or warnings only. 1: something failed. 2: nothing failed, and something cannot be told. */
export function statusOf(findings: readonly Finding[]): 0 | 1 | 2 {
  if (findings.some(({ verdict }) => verdict === 'fail')) return 1;
  return findings.some(({ verdict }) => verdict === 'unknown') ? 2 : 0;
}
