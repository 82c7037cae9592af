import { createServer } from 'node:net';

// Below the range from which the kernel takes the ports of outgoing connections, so that a port
// stays free while its server is down between a kill and a restart.
const LOWEST = 12_000;
const HIGHEST = 30_000;
/** Suites that run at a time have ranges of their own. */
const [JOB = 0, JOBS = 1] = (process.env.PONTOON_TEST_JOB ?? '0/1').split('/').map(Number);
const SHARE = Math.floor((HIGHEST - LOWEST) / JOBS);
const taken = new Set<number>();

/** A port that nothing listens on now and that no earlier call in this process was given. */
export async function freePort(): Promise<number> {
  return freePorts([0]);
}

/**
 * The first of a block of related free ports: each `base + offset` is free.
 *
 * @param offsets distances from the returned base, such as `[-1000, 0, 1000, 1001]` for Nacos
 * @throws Error when no such block is found in a hundred tries
 */
export async function freePorts(offsets: readonly number[]): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const base = LOWEST + SHARE * JOB + Math.floor(Math.random() * SHARE);
    const ports = offsets.map((offset) => base + offset);
    if (ports.some((port) => taken.has(port))) continue;
    const free = await Promise.all(ports.map(isFree));
    if (free.includes(false)) continue;
    for (const port of ports) taken.add(port);
    return base;
  }
  throw new Error(`no free block of ports with offsets ${offsets.join(', ')}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '0.0.0.0', () => probe.close(() => resolve(true)));
  });
}
