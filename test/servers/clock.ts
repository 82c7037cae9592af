import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { installed } from '#test/servers/cache.js';
import { serverFolder } from '#test/servers/process.js';

/** A wall clock that can be set while a process runs; the monotonic one goes on as it does when a real clock is set. */
export class Clock {
  /** For the process's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file = join(serverFolder('clock'), 'offset');

  constructor() {
    this.set('+0');
    this.env = {
      LD_PRELOAD: join(installed('libfaketime'), 'libfaketimeMT.so.1'),
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_TIMESTAMP_FILE: this.#file,
      // Seconds for which it does not look into the file again.
      FAKETIME_CACHE_DURATION: '1',
    };
  }

  /** @param offset from the real time, such as `+2h` */
  set(offset: string): void {
    writeFileSync(this.#file, `${offset}\n`);
  }
}
