/** Values that are kept to be shared, of each kind. */
const mostKept = 16_384;

/**
 * One object for equal values. A hundred thousand instances say the same few things: what is shared takes no memory, and the garbage collector need not look
 * at it. What was not asked for of late is forgotten, and then made anew.
 */
export class Shared<Value> {
  readonly #kept = new Map<string, Value>();

  /** @param key equal for equal values, and for no others */
  of(key: string, make: (key: string) => Value): Value {
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    // A piece that was cut out of a text would keep the whole of it in memory.
    const own = Buffer.from(key, 'utf16le').toString('utf16le');
    const value = make(own);
    if (this.#kept.size === mostKept) this.#kept.clear();
    this.#kept.set(own, value);
    return value;
  }
}

const texts = new Shared<string>();

/** The same text as one that is in use already, or else as one of its own. */
export function sharedText(text: string): string {
  return texts.of(text, (own) => own);
}
