import { Environment, type TypeCheckResult } from '@marcbachmann/cel-js';
import { reasonOf } from '#model/reason.js';
import type { Instance, Metadata, RegistryService } from '#model/service.js';
import { contains, ipOf, rangeOf } from './cidr.js';

/** What an expression about a registry's service can name. */
export interface ServiceScope {
  readonly registry: { readonly name: string; readonly type: string };
  readonly service: Pick<RegistryService, 'metadata'> & {
    readonly name: string;
    readonly namespace: string;
    readonly group: string;
    readonly version: string;
  };
}

/** What an expression about one instance can name. */
export interface InstanceScope extends ServiceScope {
  readonly instance: {
    readonly address: string;
    readonly port: bigint;
    readonly status: string;
    readonly weight: number;
    readonly zone: string;
    readonly metadata: Instance['metadata'];
  };
}

/** What a condition on a mesh service can name. */
export interface MeshConditionScope {
  readonly mesh: {
    readonly host: string;
    readonly name: string;
    readonly namespace: string;
    readonly registries: readonly string[];
    readonly location: string;
  };
}

/** What a publication's expressions can name. */
export interface PublicationScope {
  readonly mesh: MeshConditionScope['mesh'] & {
    /** What the first of its registries says of the service itself: its metadata, a Kubernetes Service's labels and annotations. */
    readonly labels: Metadata;
  };
}

/** What a condition on one endpoint of a mesh service can name; empty where it has none. */
export interface EndpointScope {
  readonly endpoint: {
    /** Of several registries that name it the first. */
    readonly registry: string;
    readonly address: string;
    readonly locality: string;
    readonly network: string;
    readonly labels: Metadata;
  };
}

/** Compiled text with CEL between `{{ }}`. Undefined where an expression fails, as a missing key does. */
export type Template<Scope> = (scope: Scope) => string | undefined;

/** A compiled condition. Undefined where it fails, as on a missing key. */
export type Condition<Scope> = (scope: Scope) => boolean | undefined;

/** A template or expression that cannot be used. `offset` is where in the text, in characters. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

const metadata = 'map<string, string>';
const serviceEnvironment = new Environment()
  .registerFunction('cidr(string, string): bool', isWithin)
  .registerVariable({ name: 'registry', schema: { name: 'string', type: 'string' } })
  .registerVariable({
    name: 'service',
    schema: { name: 'string', namespace: 'string', group: 'string', version: 'string', metadata },
  });
const instanceEnvironment = serviceEnvironment.clone().registerVariable({
  name: 'instance',
  schema: { address: 'string', port: 'int', status: 'string', weight: 'double', zone: 'string', metadata },
});

const meshEnvironment = new Environment().registerVariable({
  name: 'mesh',
  schema: { host: 'string', name: 'string', namespace: 'string', registries: 'list<string>', location: 'string' },
});

const publicationEnvironment = new Environment().registerVariable({
  name: 'mesh',
  schema: {
    host: 'string',
    name: 'string',
    namespace: 'string',
    registries: 'list<string>',
    location: 'string',
    labels: metadata,
  },
});

const endpointEnvironment = new Environment()
  .registerFunction('cidr(string, string): bool', isWithin)
  .registerVariable({
    name: 'endpoint',
    schema: { registry: 'string', address: 'string', locality: 'string', network: 'string', labels: metadata },
  });

/** Compiles a condition over `mesh` with its labels. @throws ExpressionError */
export function publicationCondition(text: string): Condition<PublicationScope> {
  return condition(text, publicationEnvironment);
}

/** Compiles a template over `mesh` with its labels. @throws ExpressionError */
export function publicationTemplate(text: string): Template<PublicationScope> {
  return compile(text, publicationEnvironment);
}

/** Compiles a condition over `endpoint`. @throws ExpressionError */
export function endpointCondition(text: string): Condition<EndpointScope> {
  return condition(text, endpointEnvironment);
}

/** Compiles a condition over `mesh`. @throws ExpressionError */
export function meshCondition(text: string): Condition<MeshConditionScope> {
  return condition(text, meshEnvironment);
}

/** Compiles a template over `registry` and `service`. @throws ExpressionError */
export function serviceTemplate(text: string): Template<ServiceScope> {
  return compile(text, serviceEnvironment);
}

/** Compiles a template over `registry`, `service` and `instance`. @throws ExpressionError */
export function instanceTemplate(text: string): Template<InstanceScope> {
  return compile(text, instanceEnvironment);
}

/** Compiles a condition over `registry` and `service`. @throws ExpressionError */
export function serviceCondition(text: string): Condition<ServiceScope> {
  return condition(text, serviceEnvironment);
}

/** Compiles a condition over `registry`, `service` and `instance`. @throws ExpressionError */
export function instanceCondition(text: string): Condition<InstanceScope> {
  return condition(text, instanceEnvironment);
}

/** Whether an expression or a template asks for the instance; a word in quotes is no name. */
export function namesInstance(text: string): boolean {
  return /(^|[^.\w])instance\s*\./.test(text.replace(/"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/g, '""'));
}

function condition<Scope extends object>(text: string, environment: Environment): Condition<Scope> {
  const evaluate = compileExpression(text, 0, environment, ['bool']);
  return (scope) => {
    try {
      return evaluate(scope) as boolean;
    } catch {
      return undefined;
    }
  };
}

/** Whether an address lies in a range. @throws Error if the range is none */
function isWithin(address: string, range: string): boolean {
  const parsed = rangeOf(range);
  const ip = ipOf(address);
  return ip !== undefined && contains(parsed, ip);
}

function compile<Scope extends object>(text: string, environment: Environment): Template<Scope> {
  const parts: (string | ((scope: Scope) => unknown))[] = [];
  let end = 0;
  for (let start = text.indexOf('{{'); start !== -1; start = text.indexOf('{{', end)) {
    const close = text.indexOf('}}', start);
    if (close === -1) throw new ExpressionError('"{{" without "}}"', start);
    parts.push(
      text.slice(end, start),
      compileExpression(text.slice(start + 2, close), start + 2, environment, ['string', 'int']),
    );
    end = close + 2;
  }
  parts.push(text.slice(end));
  return (scope) => {
    try {
      return parts.map((part) => (typeof part === 'string' ? part : String(part(scope)))).join('');
    } catch {
      return undefined;
    }
  };
}

function compileExpression(
  source: string,
  offset: number,
  environment: Environment,
  types: readonly string[],
): (scope: object) => unknown {
  const expression = source.trim();
  let checked: TypeCheckResult;
  let evaluate: ReturnType<Environment['parse']>;
  try {
    evaluate = environment.parse(expression);
    checked = evaluate.check();
  } catch (error) {
    throw new ExpressionError(messageOf(error, expression), offset);
  }
  if (!checked.valid) throw new ExpressionError(messageOf(checked.error, expression), offset);
  if (!types.includes(String(checked.type)))
    throw new ExpressionError(`${expression}: expected a ${types[0]}, found ${checked.type}`, offset);
  return evaluate;
}

/** The first line: what follows in cel-js's messages is a drawing of the place. */
function messageOf(error: unknown, expression: string): string {
  const text = reasonOf(error);
  return `${expression}: ${text.split('\n')[0]}`;
}
