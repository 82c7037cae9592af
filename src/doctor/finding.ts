/**
 * What a check comes to. `warn`: it works, and something should be done. `fail`: it does not work, or will not for long. `unknown`: it cannot be told.
 */
export type Verdict = 'ok' | 'warn' | 'fail' | 'unknown';

/** What one check found on one thing. Holds no secrets. */
export interface Finding {
  readonly verdict: Verdict;
  /** What was looked at: "registry zk", "istiod http://127.0.0.1:8080". */
  readonly subject: string;
  readonly found: string;
  /** What is right, if what was found is not. */
  readonly expected?: string;
  /** What to do. */
  readonly advice?: string;
}

/** Makes the findings on one thing. */
export class Subject {
  readonly #name: string;
  constructor(name: string) {
    this.#name = name;
  }

  ok(found: string): Finding {
    return { verdict: 'ok', subject: this.#name, found };
  }

  warn(found: string, more: Omit<Finding, 'verdict' | 'subject' | 'found'>): Finding {
    return { verdict: 'warn', subject: this.#name, found, ...more };
  }

  fail(found: string, more: Omit<Finding, 'verdict' | 'subject' | 'found'>): Finding {
    return { verdict: 'fail', subject: this.#name, found, ...more };
  }

  unknown(found: string, more: Omit<Finding, 'verdict' | 'subject' | 'found'>): Finding {
    return { verdict: 'unknown', subject: this.#name, found, ...more };
  }
}

/** "1 service", "2 services". */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

/** The first of some names, and how many more there are. */
export function listed(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
