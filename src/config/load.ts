import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { closest, distance } from 'fastest-levenshtein';
import { isPair, isScalar, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { reasonOf } from '#model/reason.js';
import { offsetOf, type Path } from './place.js';
import { type Config, configSchema, jsonSchema } from './schema.js';

/** One thing that is wrong with a configuration, and where. Lines and columns count from 1. */
export interface ConfigIssue {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** Where in the document: `registries[0].servers`. Empty for the document itself. */
  readonly path: string;
  readonly message: string;
}

/** A configuration that cannot be used, with everything that is wrong with it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly issues: readonly ConfigIssue[];
  constructor(issues: readonly ConfigIssue[]) {
    super(
      issues
        .map(
          ({ file, line, column, path, message }) =>
            `${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}`,
        )
        .join('\n'),
    );
    this.issues = issues;
  }
}

/**
 * Reads a configuration file. `${NAME}` in a scalar is replaced by the environment's value, a scalar `file:PATH` by the file's content without its last
 * line break; a relative path starts at the configuration's folder.
 * @throws ConfigError with file, line and column of everything that is wrong
 */
export function loadConfig(file: string, environment: NodeJS.ProcessEnv = process.env): Config {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError([{ file, line: 1, column: 1, path: '', message: `cannot be read: ${reasonOf(error)}` }]);
  }
  return parseConfig(text, file, environment);
}

/**
 * Like {@link loadConfig}, of text that is there already. `file` is for messages and relative paths.
 * @param mayExpand whether the value under these keys may be taken from the environment or a file; another one is an error
 */
export function parseConfig(
  text: string,
  file: string,
  environment: NodeJS.ProcessEnv = {},
  mayExpand: (keys: readonly string[]) => boolean = () => true,
): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  if (document.errors.length > 0)
    throw new ConfigError(
      document.errors.map(({ pos, message }) => ({
        ...place(pos[0]),
        path: '',
        message: message.split('\n')[0] ?? '',
      })),
    );

  const issues: ConfigIssue[] = [];
  let isResolved = true;
  const secrets: string[] = [];
  visit(document, {
    Alias: (_, node) => {
      if (node.resolve(document) !== undefined) return;
      isResolved = false;
      issues.push({
        ...place(node.range?.[0] ?? 0),
        path: '',
        message: `*${node.source} refers to an anchor that is not there: a text that begins with * stands in quotes`,
      });
    },
    Scalar: (key, node, above) => {
      if (key === 'key' || typeof node.value !== 'string' || !isReference(node.value)) return;
      try {
        const keys = above.flatMap((one) => (isPair(one) && isScalar(one.key) ? [String(one.key.value)] : []));
        if (!mayExpand(keys)) throw new Error(`${node.value} cannot be looked up here`);
        const expanded = expand(node.value, dirname(file), environment);
        secrets.push(expanded);
        node.value = expanded;
      } catch (error) {
        issues.push({ ...place(node.range?.[0] ?? 0), path: '', message: reasonOf(error) });
      }
    },
  });
  if (!isResolved) throw new ConfigError(issues);
  const input: unknown = document.toJS() ?? {};
  const result = configSchema.safeParse(input);
  if (result.success && issues.length === 0) return result.data;
  const isSaid = ({ line, column }: ConfigIssue) => issues.some((said) => said.line === line && said.column === column);
  const found: ConfigIssue[] = result.success
    ? []
    : result.error.issues
        .flatMap((issue) => described(issue, input))
        .map(({ path, key, message }) => ({
          ...place(offsetOf(document, path, key)),
          path: pathText(key === undefined ? path : [...path, key]),
          message: withoutSecrets(message, secrets),
        }))
        .filter((issue) => !isSaid(issue));
  throw new ConfigError([...issues, ...found].sort((a, b) => a.line - b.line || a.column - b.column));
}

function isReference(text: string): boolean {
  return text.startsWith('file:') || reference.test(text);
}

const reference = /\$\{[A-Za-z_][A-Za-z0-9_]*\}/;

function expand(text: string, folder: string, environment: NodeJS.ProcessEnv): string {
  if (text.startsWith('file:')) {
    const path = resolve(folder, text.slice('file:'.length));
    try {
      return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
    } catch (error) {
      throw new Error(`${text} cannot be read: ${reasonOf(error)}`);
    }
  }
  return text.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (reference, name: string) => {
    const value = environment[name];
    if (value === undefined) throw new Error(`${reference}: the environment has no variable ${name}`);
    return value;
  });
}

interface Description {
  readonly path: Path;
  /** The key that should not be there. */
  readonly key?: string;
  readonly message: string;
}

function described(issue: z.core.$ZodIssue, input: unknown): Description[] {
  const { path } = issue;
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(path, input);
    return issue.keys.map((key) => ({ path, key, message: `unknown key${suggestion(key, known)}` }));
  }
  if (issue.code === 'invalid_union' && 'discriminator' in issue && typeof issue.discriminator === 'string') {
    const types = knownTypes(path, input);
    const found = valueAt(input, path);
    const text = found === undefined ? 'missing' : `unknown type ${JSON.stringify(found)}`;
    const near = typeof found === 'string' ? nearest(found, types) : undefined;
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    return [{ path, message: `${text}${hint}; the types are ${types.join(', ')}` }];
  }
  if (issue.code === 'invalid_union') {
    // Of several forms the one that is meant is the one that is wrong within, not as a whole.
    const [meant] = issue.errors.filter((errors) => errors.some((error) => !isWhole(error)));
    if (meant !== undefined)
      return meant.flatMap((error) =>
        described({ ...error, path: [...path, ...error.path] } as z.core.$ZodIssue, input),
      );
    const forms = issue.errors
      .flat()
      .flatMap((error) => ('expected' in error ? [error.expected] : 'values' in error ? error.values : []));
    return [{ path, message: `expected ${forms.map(String).join(' or ')}` }];
  }
  if (issue.code === 'invalid_type' && valueAt(input, path) === undefined)
    return [{ path, message: `missing; expected ${issue.expected}` }];
  return [{ path, message: issue.message }];
}

/** Whether an issue says that a value is of another form altogether. */
function isWhole({ path, code }: z.core.$ZodIssue): boolean {
  return path.length === 0 && (code === 'invalid_type' || code === 'invalid_value');
}

function suggestion(found: string, known: readonly string[]): string {
  if (known.length === 0) return '';
  const near = nearest(found, known);
  return near === undefined ? `; the keys here are ${known.join(', ')}` : `; did you mean "${near}"?`;
}

/** The known word that is meant, if one is near enough, whatever its case. */
function nearest(found: string, known: readonly string[]): string | undefined {
  const near = closest(
    found.toLowerCase(),
    known.map((key) => key.toLowerCase()),
  );
  if (distance(found.toLowerCase(), near) > Math.max(2, found.length / 3)) return undefined;
  return known.find((key) => key.toLowerCase() === near);
}

interface JsonSchemaNode {
  readonly properties?: Readonly<Record<string, JsonSchemaNode>>;
  readonly items?: JsonSchemaNode;
  readonly oneOf?: readonly JsonSchemaNode[];
  readonly anyOf?: readonly JsonSchemaNode[];
  readonly const?: unknown;
}

/** The keys that the schema knows at a place. In a union that is told apart by `type` those of the chosen type. */
function knownKeys(path: Path, input: unknown): string[] {
  const type = valueAt(input, [...path, 'type']);
  return nodesAt(path, input)
    .filter(({ properties }) => properties?.type?.const === undefined || properties.type.const === type)
    .flatMap(({ properties }) => Object.keys(properties ?? {}));
}

/** The types of a union that is told apart by `type`, which is at the end of the path. */
function knownTypes(path: Path, input: unknown): string[] {
  return nodesAt(path.slice(0, -1), input).flatMap(({ properties }) => {
    const type = properties?.type?.const;
    return type === undefined ? [] : [String(type)];
  });
}

/** What the schema says of a place; of a union all members, but above it the chosen one alone. */
function nodesAt(path: Path, input: unknown): JsonSchemaNode[] {
  const members = (nodes: readonly JsonSchemaNode[]) => nodes.flatMap((node) => node.oneOf ?? node.anyOf ?? [node]);
  let nodes = members([jsonSchema() as JsonSchemaNode]);
  for (const [depth, step] of path.entries()) {
    const type = valueAt(input, [...path.slice(0, depth), 'type']);
    const chosen = nodes.filter(
      ({ properties }) => properties?.type?.const === undefined || properties.type.const === type,
    );
    nodes = members(
      chosen.flatMap((node) => (typeof step === 'number' ? node.items : node.properties?.[String(step)]) ?? []),
    );
  }
  return nodes;
}

function valueAt(input: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, step) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[step] : undefined,
    input,
  );
}

function pathText(path: Path): string {
  return path
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`))
    .join('')
    .replace(/^\./, '');
}

function withoutSecrets(message: string, secrets: readonly string[]): string {
  const forms = secrets
    .filter(({ length }) => length > 2)
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1)]);
  return forms.reduce((text, form) => text.replaceAll(form, '[redacted]'), message);
}
