import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Finding } from '#doctor/finding.js';

const program = fileURLToPath(new URL('../../../src/cli/pontoon.js', import.meta.url));

/** What `pontoon doctor` said. */
export interface Diagnosis {
  readonly status: number;
  readonly findings: readonly Finding[];
  readonly meshConfig: string;
  /** All that it printed. */
  readonly output: string;
}

/** Runs `pontoon doctor` as a process of its own. @param env further environment variables */
export async function doctor(
  config: string,
  istiods: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Diagnosis> {
  const named = istiods.flatMap((url) => ['--istiod', url]);
  const args = [program, 'doctor', '--config', config, '--json', '--timeout', '10', ...named];
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, ...env }, maxBuffer: 2 ** 26 };
    const child = execFile(process.execPath, args, options, (_error, stdout, stderr) => {
      try {
        const { status, findings, meshConfig } = JSON.parse(stdout) as Diagnosis;
        if (status !== child.exitCode) throw new Error(`status ${status}, but exit status ${child.exitCode}`);
        resolve({ status, findings, meshConfig, output: stdout + stderr });
      } catch (error) {
        reject(new Error(`pontoon doctor ended with ${child.exitCode}: ${stdout}${stderr}`, { cause: error }));
      }
    });
  });
}

/** What is not well, one line for each finding. */
export function complaints({ findings }: Diagnosis): string[] {
  return findings
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ verdict, subject, found }) => `${verdict} ${subject}: ${found}`);
}
