import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serverFolder } from '#test/servers/process.js';

/** An endpoint of a ServiceEntry, as Istio writes it. */
export interface EntryEndpoint {
  readonly address: string;
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly locality?: string;
  readonly weight?: number;
}

/** A ServiceEntry beside its name and namespace; of one HTTP port, with static endpoints, unless it says otherwise. */
export interface Entry {
  readonly endpoints: readonly EntryEndpoint[];
  readonly namespace?: string;
  readonly ports?: readonly { readonly number: number; readonly name: string; readonly protocol: string }[];
  readonly resolution?: 'STATIC' | 'DNS' | 'NONE';
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A folder of ServiceEntries that an istiod reads: people's own, in no way Pontoon's. */
export class EntryFolder {
  readonly #folder = serverFolder('entries');

  /** For `configSources`. */
  get configSource(): string {
    return `fs://${this.#folder}`;
  }

  /** Writes a ServiceEntry for each host. */
  write(file: string, entries: Readonly<Record<string, Entry>>): void {
    const documents = Object.entries(entries).map(([host, { namespace = 'shop', annotations = {}, ...spec }]) =>
      JSON.stringify({
        apiVersion: 'networking.istio.io/v1',
        kind: 'ServiceEntry',
        metadata: { name: host.replaceAll('.', '-'), namespace, annotations },
        spec: {
          hosts: [host],
          location: 'MESH_INTERNAL',
          ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
          resolution: 'STATIC',
          ...spec,
        },
      }),
    );
    // istiod looks at names that end in yaml; a file is there with all of it, or not.
    const path = join(this.#folder, file);
    writeFileSync(`${path}.new`, documents.join('\n---\n'));
    renameSync(`${path}.new`, `${path}.yaml`);
  }
}
