import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { SessionName } from './driver.js';
import { Session, SessionExpired, type SessionOptions } from './session.js';

/** ms to ask for. The server takes off what it finds too much: 20 of its ticks, 40 s, unless configured. */
const timeout = 60_000;

const kept = z.object({ id: z.string().regex(/^[0-9a-f]{16}$/), password: z.string().regex(/^[0-9a-f]{32}$/) });

/**
 * The session that keeps ephemeral znodes. It is never ended from here: a process that is back before its timeout goes on with it, and nobody sees that it
 * was away.
 */
export class Lease {
  readonly #options: SessionOptions;
  readonly #file: string | undefined;
  readonly #log: Logger;
  readonly #ended: () => void;
  #name: SessionName | undefined;
  #opened: Promise<Session> | undefined;
  #session: Session | undefined;
  #isClosed = false;

  /**
   * @param file that holds the session's id and password; undefined: a restart begins another session
   * @param ended is told when a session is over, and all that it kept is gone, or may be
   */
  constructor(options: SessionOptions, file: string | undefined, log: Logger, ended: () => void) {
    this.#options = options;
    this.#file = file;
    this.#log = log;
    this.#ended = ended;
    this.#name = file === undefined ? undefined : read(file);
  }

  /** A session that is connected. @throws Error if no server can be asked */
  async session(): Promise<Session> {
    if (this.#isClosed) throw new Error('closed');
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    const session = await this.#opened;
    await session.connected();
    return session;
  }

  /** Closes the connection. The session goes on until its timeout. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#session?.close();
  }

  async #open(): Promise<Session> {
    try {
      return await this.#connect(this.#name);
    } catch (error) {
      if (!(error instanceof SessionExpired)) throw error;
      this.#name = undefined;
      return await this.#connect(undefined);
    }
  }

  async #connect(resumed: SessionName | undefined): Promise<Session> {
    const session = new Session(
      { ...this.#options, sessionTimeout: timeout, lasting: { resumed } },
      {
        lost: (error) => this.#log.warn({ err: error }, 'the session that keeps what is published has lost its server'),
        back: () => this.#log.info('the session that keeps what is published is back'),
        ended: (error) => this.#over(session, error),
        alive: () => undefined,
      },
    );
    this.#session = session;
    await session.connected();
    this.#name = session.name;
    if (this.#file !== undefined) await write(this.#file, session.name);
    return session;
  }

  #over(session: Session, error: Error): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    const wasOpen = this.#opened !== undefined;
    this.#opened = undefined;
    // Only the server says that a session is over; one that cannot be reached may still keep it.
    if (error instanceof SessionExpired) this.#name = undefined;
    if (wasOpen && !this.#isClosed) this.#ended();
  }
}

/** A file that is not there, or is damaged, costs one takeover. */
function read(file: string): SessionName | undefined {
  try {
    return kept.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

async function write(file: string, name: SessionName): Promise<void> {
  const next = `${file}.next`;
  await writeFile(next, `${JSON.stringify(name)}\n`, { mode: 0o600 });
  await rename(next, file);
}
