import { type Document, isMap, isScalar, type Scalar } from 'yaml';

/** Keys and indices that lead to a place in a document. */
export type Path = readonly PropertyKey[];

/** Where the node at a path begins, in characters, or the key of a map there; what is missing is looked for in what would hold it. */
export function offsetOf(document: Document.Parsed, path: Path, key?: string): number {
  for (let length = path.length; length >= 0; length--) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (isMap(node) && key !== undefined) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
      if (pair !== undefined) return (pair.key as Scalar).range?.[0] ?? 0;
    }
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range))
      return Number(node.range[0]);
  }
  return 0;
}
