import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, serverFolder } from '#test/servers/process.js';

/**
 * A small disk that can be filled: a tmpfs in a mount namespace of its own, for which no rights are needed where the kernel grants user namespaces. Other
 * processes of this user get at it through `/proc`.
 */
export class Disk extends Server {
  /** @param size as tmpfs takes it: `256k` */
  static async mount(size: string): Promise<Disk> {
    return new Disk(size).start();
  }

  private constructor(size: string) {
    const folder = serverFolder('disk');
    const mount = `mkdir mounted && mount -t tmpfs -o size=${size} tmpfs mounted && echo mounted && exec sleep infinity`;
    super({
      name: 'the small disk',
      command: 'unshare',
      args: ['-rm', 'sh', '-c', mount],
      folder,
      ready: (server) => server.log().includes('mounted\n'),
    });
  }

  /** A folder on it. */
  get path(): string {
    const path = `/proc/${this.pid}/root${join(this.folder, 'mounted')}/state`;
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Leaves no room on it. @throws Error if it does not run full */
  fill(): void {
    try {
      for (let file = 0; file < 10_000; file++) writeFileSync(this.#filler(file), Buffer.alloc(4_096));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
      throw error;
    }
    throw new Error('the disk does not run full');
  }

  /** Makes room again. */
  clear(): void {
    rmSync(join(this.path, 'filler'), { recursive: true });
  }

  #filler(file: number): string {
    mkdirSync(join(this.path, 'filler'), { recursive: true });
    return join(this.path, 'filler', String(file));
  }
}
