/** One step of a policy: what came out, and which rule did it. */
export interface Step {
  readonly step: string;
  readonly result: string;
  /** Where in the configuration it stands, or what stands there instead of it. */
  readonly rule: string;
}

/** Takes up the steps as they are done. Left out where nobody asks why. */
export type Trace = (step: Step) => void;
