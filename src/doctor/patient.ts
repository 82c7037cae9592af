import type { GuardsReport } from '#admin/guards.js';
import type { DoorsReport, RegistryReport, ResourceReport, StateReport } from '#admin/report.js';
import type { Config } from '#config/schema.js';
import type { ClientState } from '#sinks/xds/stream.js';
import type { Finding } from './finding.js';

/** What is examined. */
export interface Patient {
  readonly config: Config;
  /** What a Pontoon that runs says of itself; undefined if none answers, and then only the configuration is there to look at. */
  readonly running: Running | undefined;
  /** Base URLs of istiods' debug pages. */
  readonly istiods: readonly string[];
  /** ms that a single question may take. */
  readonly limitMs: number;
}

/** Answers of a running Pontoon, all asked at about one time. */
export interface Running {
  readonly url: string;
  readonly registries: readonly RegistryReport[];
  readonly clients: readonly ClientState[];
  /** Its listeners are in the order of the configuration that it started with. */
  readonly doors: DoorsReport;
  readonly state: StateReport;
  readonly guards: GuardsReport;
  readonly resources: readonly ResourceReport[];
  /** Asks again for what is to be shown to Istio. */
  readonly resourcesNow: () => Promise<readonly ResourceReport[]>;
}

/** One kind of look at it. Throws only what it did not expect. */
export interface Check {
  /** For people, should it fail as a whole. */
  readonly name: string;
  readonly examine: (patient: Patient) => Promise<readonly Finding[]>;
}
