/**
 * Hessian 2, as far as Dubbo's metadata service needs it: http://hessian.caucho.com/doc/hessian-serialization.html. Texts are written, and what
 * an answer may hold is read. Objects become plain ones of their fields; types are passed over.
 */

/** A text, in chunks of 32,768 UTF-16 units at most. */
export function writeText(text: string): Buffer {
  const most = 0x8000;
  const parts: Buffer[] = [];
  for (let start = 0; start === 0 || start < text.length; start += most) {
    const chunk = text.slice(start, start + most);
    const head = Buffer.from([start + most < text.length ? 0x52 : 0x53, chunk.length >> 8, chunk.length & 0xff]);
    parts.push(head, Buffer.concat([...chunk].flatMap((char) => units(char))));
  }
  return Buffer.concat(parts);
}

/** A map of texts. */
export function writeTexts(texts: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(texts).flatMap(([key, value]) => [writeText(key), writeText(value)]);
  return Buffer.concat([Buffer.from('H'), ...pairs, Buffer.from('Z')]);
}

/** Each UTF-16 unit stands for itself, so that a surrogate pair takes six bytes. */
function units(char: string): Buffer[] {
  if (char.length === 1) return [Buffer.from(char)];
  return [0, 1].map((i) => {
    const unit = char.charCodeAt(i);
    return Buffer.from([0xe0 | (unit >> 12), 0x80 | ((unit >> 6) & 0x3f), 0x80 | (unit & 0x3f)]);
  });
}

interface ClassDefinition {
  readonly fields: readonly string[];
}

const deepest = 32;
const tooSoon = 'hessian: the data end too soon';

/** Reads values one after the other. Everything throws an Error that says where it does not understand, or where the data end too soon. */
export class HessianReader {
  readonly #data: Buffer;
  readonly #classes: ClassDefinition[] = [];
  readonly #references: unknown[] = [];
  #at = 0;
  #depth = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  /** The next value: null, boolean, number, string, Uint8Array, array, or an object without a prototype. */
  read(): unknown {
    if (++this.#depth > deepest) throw new Error(`hessian: nested more than ${deepest} deep`);
    try {
      return this.#value(this.#byte());
    } finally {
      this.#depth--;
    }
  }

  #value(tag: number): unknown {
    if (isText(tag)) return this.#text(tag);
    if (tag >= 0x80 && tag <= 0xbf) return tag - 0x90;
    if (tag >= 0xc0 && tag <= 0xcf) return ((tag - 0xc8) << 8) + this.#byte();
    if (tag >= 0xd0 && tag <= 0xd7) return ((tag - 0xd4) << 16) + this.#number(2);
    if (tag >= 0xd8 && tag <= 0xef) return tag - 0xe0;
    if (tag >= 0xf0) return ((tag - 0xf8) << 8) + this.#byte();
    if (tag >= 0x38 && tag <= 0x3f) return ((tag - 0x3c) << 16) + this.#number(2);
    if (tag >= 0x70 && tag <= 0x77) return this.#typedList(() => tag - 0x70);
    if (tag >= 0x78 && tag <= 0x7f) return this.#list(tag - 0x78);
    if (tag >= 0x60 && tag <= 0x6f) return this.#object(tag - 0x60);
    switch (tag) {
      case 0x4e:
        return null;
      case 0x54:
        return true;
      case 0x46:
        return false;
      case 0x49:
      case 0x59:
        return this.#data.readInt32BE(this.#take(4));
      case 0x4c:
      case 0x4a:
        return Number(this.#data.readBigInt64BE(this.#take(8)));
      case 0x4b:
        return this.#data.readInt32BE(this.#take(4)) * 60_000;
      case 0x5b:
      case 0x5c:
        return tag - 0x5b;
      case 0x5d:
        return this.#data.readInt8(this.#take(1));
      case 0x5e:
        return this.#data.readInt16BE(this.#take(2));
      case 0x5f:
        return this.#data.readInt32BE(this.#take(4)) / 1000;
      case 0x44:
        return this.#data.readDoubleBE(this.#take(8));
      case 0x55:
        return this.#typedList(() => undefined);
      case 0x56:
        return this.#typedList(() => this.#length());
      case 0x57:
        return this.#list(undefined);
      case 0x58:
        return this.#list(this.#length());
      case 0x4d:
        this.#type();
        return this.#map();
      case 0x48:
        return this.#map();
      case 0x43:
        this.#define();
        return this.read();
      case 0x4f:
        return this.#object(this.#length());
      case 0x51:
        return this.#references[this.#length()];
      default:
        throw new Error(`hessian: byte 0x${tag.toString(16)} at ${this.#at - 1} begins no value that is known here`);
    }
  }

  #typedList(length: () => number | undefined): unknown[] {
    this.#type();
    return this.#list(length());
  }

  /** @param length undefined: up to its end mark */
  #list(length: number | undefined): unknown[] {
    const list: unknown[] = [];
    this.#references.push(list);
    if (length === undefined) while (!this.#isEnd()) list.push(this.read());
    else for (let i = 0; i < length; i++) list.push(this.read());
    return list;
  }

  #map(): object {
    const map: Record<string, unknown> = Object.create(null);
    this.#references.push(map);
    while (!this.#isEnd()) map[String(this.read())] = this.read();
    return map;
  }

  #define(): void {
    this.#string();
    const length = this.#length();
    const fields: string[] = [];
    for (let i = 0; i < length; i++) fields.push(this.#string());
    this.#classes.push({ fields });
  }

  #object(index: number): object {
    const definition = this.#classes[index];
    if (definition === undefined) throw new Error(`hessian: class ${index} is not defined`);
    const object: Record<string, unknown> = Object.create(null);
    this.#references.push(object);
    for (const field of definition.fields) object[field] = this.read();
    return object;
  }

  /** Passes over a type: in full, or its number. */
  #type(): void {
    this.read();
  }

  #text(first: number): string {
    let text = '';
    for (let tag = first; ; tag = this.#byte()) {
      if (!isText(tag)) throw new Error(`hessian: a text goes on with byte 0x${tag.toString(16)}`);
      const length = tag <= 0x1f ? tag : tag <= 0x33 ? ((tag - 0x30) << 8) + this.#byte() : this.#number(2);
      text += this.#characters(length);
      if (tag !== 0x52) return text;
    }
  }

  #characters(length: number): string {
    const codes: number[] = [];
    for (let i = 0; i < length; i++) {
      const byte = this.#byte();
      if (byte < 0x80) codes.push(byte);
      else if ((byte & 0xe0) === 0xc0) codes.push(((byte & 0x1f) << 6) | (this.#byte() & 0x3f));
      else codes.push(((byte & 0x0f) << 12) | ((this.#byte() & 0x3f) << 6) | (this.#byte() & 0x3f));
    }
    let text = '';
    for (let i = 0; i < codes.length; i += 4096) text += String.fromCharCode(...codes.slice(i, i + 4096));
    return text;
  }

  #string(): string {
    const value = this.read();
    if (typeof value !== 'string') throw new Error(`hessian: expected a text before byte ${this.#at}`);
    return value;
  }

  #length(): number {
    const value = this.read();
    if (typeof value !== 'number' || value < 0) throw new Error(`hessian: expected a length before byte ${this.#at}`);
    return value;
  }

  #isEnd(): boolean {
    if (this.#data[this.#at] !== 0x5a) return false;
    this.#at++;
    return true;
  }

  #byte(): number {
    const byte = this.#data[this.#at];
    if (byte === undefined) throw new Error(tooSoon);
    this.#at++;
    return byte;
  }

  #number(bytes: number): number {
    return this.#data.readUIntBE(this.#take(bytes), bytes);
  }

  /** Passes over bytes. @returns where they begin */
  #take(bytes: number): number {
    const start = this.#at;
    if (start + bytes > this.#data.length) throw new Error(tooSoon);
    this.#at += bytes;
    return start;
  }
}

function isText(tag: number): boolean {
  return tag <= 0x1f || (tag >= 0x30 && tag <= 0x33) || tag === 0x52 || tag === 0x53;
}
