import { configReference } from '#config/reference.js';
import { jsonSchema } from '#config/schema.js';

/** `pontoon schema`: the configuration's JSON Schema, or its reference for people. */
export function schema(options: { markdown?: boolean }): void {
  process.stdout.write(options.markdown ? configReference() : `${JSON.stringify(jsonSchema(), null, 2)}\n`);
}
