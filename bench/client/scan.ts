import { BinaryReader } from '@bufbuild/protobuf/wire';

/** A resource as it stands in a response, undecoded. */
export interface Scanned {
  /** `namespace/name`. */
  readonly name: string;
  readonly version: string;
  /** The encoded body: a ServiceEntry. */
  readonly body: Uint8Array;
}

/** What a response says, of either protocol. */
export interface Response {
  readonly version: string;
  readonly nonce: string;
  readonly resources: readonly Uint8Array[];
  readonly removed: readonly string[];
}

/** Field numbers of DiscoveryResponse and DeltaDiscoveryResponse: both have the resources at 2 and the nonce at 5, and what is removed at 6. */
const response = { version: 1, resources: 2, nonce: 5, control: 6 };

/** Reads a response without decoding its resources: what a client needs to acknowledge it. */
export function readResponse(bytes: Uint8Array, protocol: 'sotw' | 'delta'): Response {
  let version = '';
  let nonce = '';
  const resources: Uint8Array[] = [];
  const removed: string[] = [];
  for (const { field, reader } of fields(bytes)) {
    if (field === response.resources) resources.push(reader.bytes());
    else if (field === response.version) version = reader.string();
    else if (field === response.nonce) nonce = reader.string();
    else if (field === response.control && protocol === 'delta') removed.push(reader.string());
  }
  return { version, nonce, resources, removed };
}

/** The istio.mcp.v1alpha1.Resource within one `resources` field. */
export function readResource(bytes: Uint8Array, protocol: 'sotw' | 'delta'): Scanned {
  // DeltaDiscoveryResponse's have an envelope more, with the Any at 2; that of an Any is at 2, too.
  const any = protocol === 'delta' ? fieldOf(bytes, 2) : bytes;
  const resource = fieldOf(any, 2);
  const metadata = fieldOf(resource, 1);
  return {
    name: text(fieldOf(metadata, 1)),
    version: text(fieldOf(metadata, 3)),
    body: fieldOf(fieldOf(resource, 2), 2),
  };
}

/** How many endpoints a ServiceEntry has. */
export function countEndpoints(entry: Uint8Array): number {
  let count = 0;
  for (const { field, reader, type } of fields(entry)) {
    if (field === 6) count++;
    reader.skip(type);
  }
  return count;
}

function fieldOf(bytes: Uint8Array, wanted: number): Uint8Array {
  for (const { field, reader } of fields(bytes)) if (field === wanted) return reader.bytes();
  return new Uint8Array();
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}

/** Each field in turn; one that nobody reads is skipped. */
function* fields(bytes: Uint8Array) {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const { pos } = reader;
    yield { field, type, reader };
    if (reader.pos === pos) reader.skip(type);
  }
}
