import picomatch from 'picomatch';
import { short } from '#model/address.js';
import { compareText } from '#model/mesh.js';
import type { Metadata } from '#model/service.js';
import type { LabelRule } from './policy.js';
import { matches } from './relabel.js';

/** Metadata that says nothing about an endpoint, or changes at every start: each change is a push. */
const unwanted = picomatch(
  [
    '*timestamp*',
    'pid',
    // Secrets.
    '*token*',
    '*password*',
    '*passwd*',
    '*secret*',
    '*access*key*',
    '*credential*',
    'preserved.*',
    'management.*',
    // What Dubbo and Curator write for their own clients.
    'dubbo*',
    'qos.*',
    'bind.*',
    'metadata*',
    'meta-v',
    'service-name-mapping',
    'prefer.serialization',
    'executor-management-mode',
    'file-cache',
    'register-mode',
    'REGISTRY_CLUSTER',
    'anyhost',
    'background',
    'deprecated',
    'dynamic',
    'generic',
    'interface',
    'logger',
    'methods',
    'revision',
    'side',
    'timeout',
    'weight',
  ],
  { dot: true, nocase: true },
);

/** Labels that mean something to Istio or Kubernetes: an application must not set them by its metadata. */
const reserved = /(^|\.)(istio|kubernetes|k8s)\.io\//;

const maxLength = 63;

/** Labels, and what of the metadata could become none, with the reason. */
export interface EndpointLabels {
  readonly labels: Readonly<Record<string, string>>;
  readonly unfit: string[];
}

/**
 * Turns metadata into valid Kubernetes labels, in sorted order. Keys and values are made valid character by character; a value that is too long or
 * has nothing valid in it is left out, since a cut one could mean another thing. A rule chooses other keys than the usual ones, and sets labels beside them,
 * which may be those that mean something to Istio.
 * @param fill what a template of the rule gives
 * See https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
 */
export function endpointLabels(
  metadata: Metadata,
  rule?: LabelRule,
  fill: (template: string) => string | undefined = (text) => text,
): EndpointLabels {
  const labels: Record<string, string> = {};
  const unfit: string[] = [];
  for (const [key, template] of Object.entries(rule?.set ?? {}).sort(([a], [b]) => compareText(a, b))) {
    const value = labelText(fill(template) ?? '');
    if (value !== undefined) labels[key] = value;
  }
  for (const key of Object.keys(metadata).sort()) {
    const text = metadata[key] ?? '';
    if (text === '' || !isChosen(key, rule)) continue;
    const name = labelText(key);
    const value = labelText(text);
    if (name === undefined || value === undefined)
      unfit.push(
        `metadata ${short(key)} (${text.length} characters) can be no label: a label has at most ${maxLength}`,
      );
    else labels[name] ??= value;
  }
  return { labels, unfit };
}

function isChosen(key: string, rule: LabelRule | undefined): boolean {
  if (rule?.drop !== undefined && matches(rule.drop, key)) return false;
  if (rule?.copy !== undefined) return matches(rule.copy, key) && !reserved.test(key.toLowerCase());
  return isWanted(key);
}

/** Applications use few keys, over and over: each is matched once. */
const wanted = new Map<string, boolean>();
const maxRemembered = 10_000;

function isWanted(key: string): boolean {
  let answer = wanted.get(key);
  if (answer === undefined) {
    answer = !unwanted(key) && !reserved.test(key.toLowerCase());
    if (wanted.size >= maxRemembered) wanted.clear();
    wanted.set(key, answer);
  }
  return answer;
}

function labelText(text: string): string | undefined {
  if (text.length > maxLength) return undefined;
  const valid = text.replace(/[^A-Za-z0-9_.-]/g, '-').replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
  return valid === '' ? undefined : valid;
}
