import picomatch from 'picomatch';
import type { Metadata } from '#model/service.js';
import type { MetadataRule } from './policy.js';

const matchers = new Map<string, (key: string) => boolean>();

/** Whether a key matches one of several globs. Compiled once. */
export function matches(globs: readonly string[], key: string): boolean {
  return globs.some((glob) => {
    let matcher = matchers.get(glob);
    if (matcher === undefined) {
      matcher = picomatch(glob, { bash: true, dot: true });
      matchers.set(glob, matcher);
    }
    return matcher(key);
  });
}

/** Changes metadata by rule: renames keys, maps values, sets keys, and drops some. @param fill what a template of `set` gives */
export function relabel(
  metadata: Metadata,
  rule: MetadataRule | undefined,
  fill: (template: string) => string | undefined,
): Metadata {
  if (rule === undefined) return metadata;
  const { rename = {}, map = {}, set = {}, drop = [] } = rule;
  const changed: Record<string, string> = {};
  for (const [key, value] of Object.entries(metadata)) {
    const name = Object.hasOwn(rename, key) ? (rename[key] ?? key) : key;
    const values = Object.hasOwn(map, name) ? map[name] : undefined;
    changed[name] = values !== undefined && Object.hasOwn(values, value) ? (values[value] ?? value) : value;
  }
  for (const [key, template] of Object.entries(set)) {
    const value = fill(template);
    if (value !== undefined) changed[key] = value;
  }
  return Object.fromEntries(Object.entries(changed).filter(([key]) => !matches(drop, key)));
}
