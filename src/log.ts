import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '#config/schema.js';

/** JSON lines on standard output; on a terminal, lines for people. Values under the names of secrets are never written. */
export function createLog({ level }: Config['log']): Logger {
  const options = {
    level,
    base: null,
    redact: {
      paths: [
        'password',
        'token',
        'accessToken',
        'authorization',
        '*.password',
        '*.token',
        '*.accessToken',
        '*.authorization',
      ],
      censor: '[redacted]',
    },
  };
  return process.stdout.isTTY ? pino(options, pretty({ translateTime: 'HH:MM:ss.l', sync: true })) : pino(options);
}
