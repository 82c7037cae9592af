/** An object of a JSON document, whose values are yet to be checked. */
export type JsonObject = { readonly [key: string]: unknown };

/** Whether a value is an object: no list, no null, and no bytes that were never parsed. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
}
