import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import picomatch from 'picomatch';
import { z } from 'zod';

/** Field types of the configuration grammar, for src/config and for the adapters' own keys. */

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** Timers hold no longer ones. */
const longestDuration = 2 ** 31 - 1;

/** A duration with its unit (`500ms`, `30s`, `5m`, `1h`), read as ms: at least `least` ms, at most 24 days. */
export function duration(least = 0) {
  return z
    .string()
    .regex(/^\d+(\.\d+)?(ms|s|m|h)$/, 'expected a duration with its unit, such as 500ms, 30s or 5m')
    .meta({ description: 'A duration with its unit: 500ms, 30s, 5m, 1h' })
    .transform((text, context) => {
      const [, amount, unit] = /^([\d.]+)(ms|s|m|h)$/.exec(text) as unknown as [
        string,
        string,
        keyof typeof durationUnits,
      ];
      const ms = Number(amount) * durationUnits[unit];
      const bound = ms < least ? `at least ${least}ms` : ms > longestDuration ? 'at most 24 days' : undefined;
      if (bound !== undefined) context.addIssue({ code: 'custom', message: `expected ${bound}, found ${text}` });
      return ms;
    });
}

/** A share with its sign (`30%`), read as a fraction: above 0, at most 1. */
export function share() {
  return z
    .string()
    .regex(/^\d+(\.\d+)?%$/, 'expected a share, such as 30%')
    .transform((text, context) => {
      const fraction = Number(text.slice(0, -1)) / 100;
      if (fraction <= 0 || fraction > 1)
        context.addIssue({ code: 'custom', message: `expected more than 0% and at most 100%, found ${text}` });
      return fraction;
    });
}

/** Istio namespaces that see a service. */
export function exportTo() {
  return z
    .array(z.string().regex(/^(\*|\.|~|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$/, 'expected *, ., ~ or a namespace'))
    .min(1)
    .refine(
      (names) => names.length === 1 || !names.some((name) => name === '*' || name === '~'),
      '* and ~ stand alone',
    );
}

/** A secret that cannot be printed by accident: logs, JSON and templates show `[redacted]`. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return '[redacted]';
  }
  toJSON(): string {
    return '[redacted]';
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[redacted]';
  }
}

/** Whether two parts of a configuration say the same, secrets included. */
export function isSame(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(revealed(a), revealed(b));
}

function revealed(value: unknown): unknown {
  if (value instanceof Secret) return { secret: value.reveal() };
  if (Array.isArray(value)) return value.map(revealed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, revealed(part)]));
}

/** A secret in the configuration. */
export function secret() {
  return z
    .string()
    .min(1)
    .meta({ description: 'A secret, best as ${NAME} (environment) or file:/path' })
    .transform((value) => new Secret(value));
}

/** Certificates of a client connection, as paths of PEM files. */
export function clientTls() {
  return z.strictObject({
    ca: z
      .string()
      .min(1)
      .optional()
      .meta({ description: "PEM file of the authorities to trust, instead of the system's" }),
    cert: z.string().min(1).optional().meta({ description: 'PEM file of the client certificate' }),
    key: z.string().min(1).optional().meta({ description: "PEM file of the client certificate's key" }),
    serverName: z.string().min(1).optional().meta({ description: "Name to expect in the server's certificate" }),
  });
}

export type ClientTls = z.output<ReturnType<typeof clientTls>>;

/** What `tls.connect`, undici and grpc-js want to know. */
export type TlsFiles = { ca?: Buffer; cert?: Buffer; key?: Buffer; servername?: string };

/** Reads the files of a TLS block. @throws Error of the file system, naming the file */
export function readClientTls(tls: ClientTls): TlsFiles {
  return {
    ...(tls.ca === undefined ? {} : { ca: readFileSync(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: readFileSync(tls.key) }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
  };
}

/** User name and password. */
export function basicAuth() {
  return z.strictObject({ username: z.string().min(1), password: secret() });
}

/** `host:port`; IPv6 in brackets. Read as its two parts. */
export function hostPort(defaultPort?: number) {
  const example = defaultPort === undefined ? 'host:port' : `host or host:port (default ${defaultPort})`;
  return z.string().transform((text, context) => {
    const match = /^(\[[0-9a-fA-F:.]+\]|[^:/@\s]+)(?::(\d{1,5}))?$/.exec(text);
    const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
    if (match?.[1] === undefined || port === undefined || port > 65535) {
      // With an @ it may hold a password.
      const found = text.includes('@') ? 'what is there' : `"${text}"`;
      context.addIssue({ code: 'custom', message: `${found} is not ${example}` });
      return z.NEVER;
    }
    return { host: match[1].replace(/^\[|\]$/g, ''), port };
  });
}

/** `host:port` as text; IPv6 in brackets. */
export function hostPortText({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/**
 * An http or https URL without a query, read without its last slash. A user name and password in it are percent-encoded. What is wrong is said without what
 * was found: it may hold a password.
 */
export function httpUrl() {
  return z
    .string()
    .superRefine((text, context) => {
      const wrong = urlError(text);
      if (wrong !== undefined) context.addIssue({ code: 'custom', message: wrong });
    })
    .meta({ description: 'A URL such as http://host:port/path' })
    .transform((text) => text.replace(/\/+$/, ''));
}

function urlError(text: string): string | undefined {
  const expected = 'expected a URL such as http://host:port/path';
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return expected;
  const { search, hash, username, password } = new URL(text);
  if (search !== '' || hash !== '') return `${expected}, without ? and #`;
  try {
    decodeURIComponent(username + password);
    return undefined;
  } catch {
    return 'user name and password in a URL are to be percent-encoded';
  }
}

/** Whether a name is wanted: it matches one of `include` (all, if there is none) and none of `exclude`. Globs; `*` matches any characters. */
export function nameFilter(include: readonly string[] | undefined, exclude: readonly string[] | undefined) {
  const options = { bash: true, dot: true };
  const wanted = include === undefined ? () => true : picomatch([...include], options);
  const unwanted = exclude === undefined || exclude.length === 0 ? () => false : picomatch([...exclude], options);
  return (name: string): boolean => wanted(name) && !unwanted(name);
}
