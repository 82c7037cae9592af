import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Something that Pontoon does with a registry. */
interface Feature {
  readonly feature: string;
  /** Whether the registry's own client does it: yes, no, or in a word. */
  readonly client: boolean | string;
  /** The tests that show it: file below `test`, without `.test.ts`, and a part of a title in it. */
  readonly shown: readonly (readonly [file: string, title: string])[];
  /** What only a fake server shows, since no real one can be had or made to do it. */
  readonly fake?: boolean;
}

interface Registry {
  readonly name: string;
  readonly client: string;
  readonly features: readonly Feature[];
}

const contract = (registry: string): Feature[] => [
  {
    feature: 'the contract above',
    client: '',
    shown: [[`real/${registry}`, 'contract']],
  },
];

/** What the tables of features in the README are made of. */
const registries: readonly Registry[] = [
  {
    name: 'Eureka',
    client: 'Spring Cloud 2024.0 (Netflix)',
    features: [
      ...contract('eureka/contract'),
      {
        feature: 'full fetch, then deltas',
        client: true,
        shown: [['real/eureka/eureka', 'changes and deregisters, by deltas']],
      },
      {
        feature: 'a full fetch when the count by status disagrees',
        client: true,
        fake: true,
        shown: [['unit/eureka-source', 'applies deltas, and fetches all when the count differs']],
      },
      {
        feature: 'overrides of the status, in full and by deltas',
        client: true,
        shown: [
          ['real/eureka/eureka', 'the status of an override'],
          ['real/eureka/eureka', 'overrides included'],
        ],
      },
      {
        feature: 'lookup by VIP and secure VIP',
        client: true,
        shown: [['real/eureka/instances', 'is looked up by VIP']],
      },
      {
        feature: 'plain port, secure port, both, neither',
        client: true,
        shown: [['real/eureka/instances', 'its plain port, its secure port']],
      },
      {
        feature: 'zones, and Amazon’s regions',
        client: true,
        shown: [['real/eureka/instances', 'has the zone of its metadata']],
      },
      { feature: 'other regions', client: true, shown: [['real/eureka/instances', 'may be in another region']] },
      {
        feature: 'several servers; a sick one rests',
        client: true,
        shown: [
          ['real/eureka/eureka', 'are read one for the other'],
          ['real/eureka/instances', 'and the other one is read without a gap'],
        ],
      },
      {
        feature: 'basic auth, own authority, client certificate',
        client: true,
        shown: [
          ['real/eureka/secured', 'user name and password of the configuration'],
          ['real/eureka/secured', 'refuses a client without a certificate'],
        ],
      },
      { feature: 'gzip', client: true, shown: [['real/eureka/instances', 'is read gzipped']] },
      { feature: 'JSON of older servers', client: true, fake: true, shown: [['unit/eureka-decode', 'older']] },
      {
        feature: 'a server that comes back with nothing empties nothing',
        client: false,
        shown: [['real/eureka/eureka', 'empties nothing when the server is killed and comes back with nothing']],
      },
      {
        feature: 'two servers have to agree before a service goes',
        client: false,
        fake: true,
        shown: [['unit/eureka-source', 'believes only both']],
      },
      {
        feature: 'written to: services of the mesh, found and called by Spring Cloud',
        client: '',
        shown: [['e2e/clients', 'is found and called by each of them']],
      },
    ],
  },
  {
    name: 'Nacos',
    client: 'nacos-client 2.5 (Java)',
    features: [
      ...contract('nacos/contract'),
      { feature: 'gRPC pushes of 2.x and 3.x', client: true, shown: [['real/nacos/grpc', 'follows a real client']] },
      {
        feature: 'reconnects, subscribes again, goes where a server sends it',
        client: true,
        shown: [
          ['real/nacos/servers', 'goes where its server sends it'],
          ['real/nacos/servers', 'goes to another server when it loses one'],
        ],
      },
      { feature: 'a server that hangs', client: true, shown: [['real/nacos/grpc', 'notices a server that hangs']] },
      {
        feature: 'HTTP of 1.x, tried on 2.3.2',
        client: '1.x clients',
        shown: [['real/nacos/http', 'follows a service through new clusters']],
      },
      {
        feature: 'pushes of 1.x over UDP, tried on 2.3.2',
        client: '1.x clients',
        shown: [['real/nacos/push', 'sees a change, an emptied service, and one that is back']],
      },
      {
        feature: 'HTTP of 1.x, 1.x answers',
        client: '1.x clients',
        fake: true,
        shown: [['unit/nacos-http', 'asks about each service once']],
      },
      {
        feature: 'several namespaces, by id, by name, all',
        client: 'one each',
        shown: [['real/nacos/grpc', 'reads the wanted groups, namespaces and names']],
      },
      {
        feature: 'groups by name, by glob, all',
        client: 'by name',
        shown: [['real/nacos/http', 'reads groups by exact name and by glob']],
      },
      {
        feature: 'all clusters, or some',
        client: true,
        shown: [['real/nacos/services', 'reads all clusters, or those that are wanted']],
      },
      {
        feature: 'protect threshold, told apart',
        client: 'applied',
        shown: [['real/nacos/services', 'below its protect threshold']],
      },
      {
        feature: 'new services within 5 s, at next to no cost',
        client: '3.x clients',
        shown: [
          ['real/nacos/discovery', 'finds them within 5 s'],
          ['real/nacos/discovery', 'is told of them'],
        ],
      },
      {
        feature: 'TLS over gRPC and HTTP, own authority',
        client: true,
        shown: [['real/nacos/tls', 'with the authority that it is given']],
      },
      {
        feature: 'user and password, renewed token',
        client: true,
        shown: [['real/nacos/credentials', 'outlives its token']],
      },
      {
        feature: 'the servers’ identity',
        client: false,
        shown: [['real/nacos/credentials', "by the servers' own identity"]],
      },
      {
        feature: 'access key and secret key, as the Java client signs',
        client: true,
        fake: true,
        shown: [['real/nacos/signature', 'signs naming and configuration']],
      },
      {
        feature: 'an error on one page of the list loses nothing',
        client: false,
        fake: true,
        shown: [['unit/nacos-catalog', 'is an error when one page is']],
      },
      {
        feature: '3.1’s 410, 3.2 without v1',
        client: true,
        fake: true,
        shown: [
          ['unit/nacos-catalog', '3.1 answers 410'],
          ['unit/nacos-catalog', '3.2, which has no v1'],
        ],
      },
      {
        feature: 'writes instances over HTTP, kept by beats',
        client: '1.x clients',
        shown: [['real/nacos/target', 'has what a real client finds']],
      },
      {
        feature: 'writes batches over gRPC, and again on the next connection',
        client: true,
        shown: [['real/nacos/target', 'registers all that its connection keeps again']],
      },
      {
        feature: 'writes persistent instances; follows the kind that is there',
        client: true,
        shown: [['real/nacos/target', 'follows the kind of instances']],
      },
      {
        feature: 'writes over nothing that is not its own',
        client: false,
        shown: [['real/nacos/target', 'leaves alone what registered itself']],
      },
    ],
  },
  {
    name: 'Dubbo on Nacos',
    client: 'Dubbo 3.3',
    features: [
      ...contract('dubbo/contract'),
      {
        feature: 'interface and application level, dubbo and tri, local and remote metadata',
        client: true,
        shown: [['real/dubbo/nacos', 'registered by ${mode}, metadata ${metadata}']],
      },
      {
        feature: 'one service with what is on ZooKeeper',
        client: true,
        shown: [['real/dubbo/merge', 'is one mesh service']],
      },
      {
        feature: 'Dubbo’s weight, warm-up, and Nacos’s weight',
        client: 'without Nacos’s',
        shown: [['real/dubbo/nacos', "has Dubbo's weight"]],
      },
      {
        feature: 'override rules of the config centre',
        client: true,
        shown: [['real/dubbo/nacos', 'applies a rule of the config centre']],
      },
      {
        feature: 'written to, by interface and by application: found and called by consumers',
        client: '',
        shown: [['real/nacos/target-dubbo', 'has what a consumer finds and calls']],
      },
    ],
  },
  {
    name: 'ZooKeeper: Dubbo and Spring Cloud',
    client: 'Dubbo 3.3, Spring Cloud 2024.0',
    features: [
      ...contract('zookeeper/contract'),
      {
        feature: 'Dubbo by interface and by application, dubbo and tri, local and remote metadata',
        client: true,
        shown: [['real/zookeeper/dubbo', 'registered by ${mode}, metadata ${metadata}']],
      },
      { feature: 'Dubbo 2.7', client: true, shown: [['real/zookeeper/dubbo', 'reads Dubbo 2.7']] },
      {
        feature: 'both levels at once: one host, no doubles',
        client: true,
        shown: [['real/zookeeper/dubbo', 'from the interface level to the application level']],
      },
      {
        feature: 'the provider’s MetadataService',
        client: true,
        shown: [['real/zookeeper/dubbo', 'asks a provider itself']],
      },
      {
        feature: 'override rules, in znodes and in the config centre',
        client: true,
        shown: [
          ['real/zookeeper/rules', 'obeys an override'],
          ['real/dubbo/rules', 'agree on a znode'],
        ],
      },
      {
        feature: 'routing rules',
        client: true,
        shown: [['real/zookeeper/rules', 'says which routers there are, and applies none']],
      },
      { feature: 'consumers', client: 'for its own use', shown: [['real/zookeeper/dubbo', 'knows the consumers']] },
      {
        feature: 'Spring Cloud: metadata, instance status, nested names',
        client: true,
        shown: [
          ['real/zookeeper/springcloud', 'reads one with its metadata'],
          ['real/zookeeper/springcloud', 'name has slashes'],
        ],
      },
      {
        feature: 'several roots',
        client: 'one each',
        shown: [['real/zookeeper/source', 'keeps the services of several roots apart']],
      },
      { feature: 'digest authentication', client: true, shown: [['real/zookeeper/source', 'digest authentication']] },
      {
        feature: 'ensemble, observer',
        client: true,
        shown: [
          ['real/zookeeper/ensemble', 'goes on with another server'],
          ['real/zookeeper/ensemble', 'reads an observer'],
        ],
      },
      { feature: 'TLS', client: true, shown: [['real/zookeeper/tls', 'reads with a certificate of its own']] },
      {
        feature: 'a znode that may not be read keeps its service',
        client: false,
        shown: [['real/zookeeper/source', 'keeps a service that may no longer be read']],
      },
      {
        feature: '40,000 watches over a restart of the server',
        client: '',
        shown: [['real/zookeeper/scale', 'survives the restart']],
      },
      {
        feature: 'dead instances in persistent znodes',
        client: false,
        shown: [['real/zookeeper/persistent', 'notes a dead one']],
      },
      {
        feature: 'written to: called by consumers of Dubbo 3.3 and 2.7, at both levels, over dubbo and tri',
        client: '',
        shown: [['real/zookeeper/target-dubbo', 'lets a consumer of']],
      },
      {
        feature: 'written to: sessions outlive a restart, and are taken over unseen',
        client: '',
        shown: [['real/zookeeper/target', 'consumers see no change']],
      },
    ],
  },
  {
    name: 'Consul',
    client: '`consul` for Node',
    features: [
      ...contract('consul/contract'),
      {
        feature: 'weights by check, maintenance of instance and node',
        client: 'by hand',
        shown: [['real/consul/consul', 'shows warning, critical and maintenance']],
      },
      {
        feature: 'tagged addresses by preference',
        client: 'by hand',
        shown: [['real/consul/reading', 'takes tagged addresses']],
      },
      {
        feature: 'one service id on several nodes',
        client: 'by hand',
        shown: [['real/consul/reading', 'on several nodes']],
      },
      {
        feature: 'checks that count',
        client: 'by hand',
        shown: [['real/consul/reading', 'lets the configured checks count']],
      },
      {
        feature: 'proxies and gateways, out or in',
        client: 'by hand',
        shown: [
          ['real/consul/consul', 'shows no proxies'],
          ['real/consul/reading', 'shows proxies and gateways'],
        ],
      },
      {
        feature: 'filter expressions at the server',
        client: true,
        shown: [['real/consul/reading', 'has the server filter']],
      },
      {
        feature: 'several data centres; one that fails touches no other',
        client: 'one each',
        shown: [['real/consul/centers', 'loses nothing when one is killed']],
      },
      {
        feature: 'namespaces and partitions',
        client: true,
        fake: true,
        shown: [['unit/consul-source', 'reads all of them, or those that are named']],
      },
      {
        feature: 'a token that rotates in its file',
        client: false,
        shown: [['real/consul/access', 'when the token in the file is replaced']],
      },
      {
        feature: 'TLS, client certificate',
        client: true,
        shown: [['real/consul/access', 'is refused without a certificate']],
      },
      {
        feature: 'default, consistent and stale reads; a cluster without a leader',
        client: true,
        shown: [['real/consul/cluster', 'keeps all without a leader']],
      },
      {
        feature: 'thousands of services within the agent’s limit of connections',
        client: false,
        shown: [
          ['real/consul/limits', 'follows 3,000 services soon'],
          ['real/consul/access', 'with fewer connections than an agent allows'],
        ],
      },
      {
        feature: 'servers that limit requests',
        client: false,
        shown: [['real/consul/limits', 'refuses what comes too fast']],
      },
      {
        feature: 'an index that falls',
        client: 'by hand',
        fake: true,
        shown: [['unit/consul-source', 'starts again when the index falls']],
      },
      {
        feature: 'written to: the catalog on external nodes, or an agent with TTL',
        client: '',
        shown: [
          ['real/consul/target', 'refuses to write on a node'],
          ['e2e/clients', 'is found and called by each of them'],
        ],
      },
    ],
  },
  {
    name: 'file',
    client: '',
    features: [
      ...contract('file/contract'),
      {
        feature: 'YAML or JSON; saved in place or replaced',
        client: '',
        shown: [['real/file/file', 'saved in place or replaced']],
      },
      { feature: 'a folder of files', client: '', shown: [['real/file/file', 'joins its files']] },
      { feature: 'ConfigMaps', client: '', shown: [['real/file/file', 'behind the links of a ConfigMap']] },
      {
        feature: 'mistakes with file, line and column; the good content stays',
        client: '',
        shown: [
          ['real/file/file', 'says where and why'],
          ['real/file/file', 'keeps the previous content'],
        ],
      },
    ],
  },
  {
    name: 'Kubernetes',
    client: 'istiod',
    features: [
      ...contract('kubernetes/contract'),
      {
        feature: 'Services and EndpointSlices by list and watch, with bookmarks',
        client: true,
        shown: [['real/kubernetes/contract', 'contract']],
      },
      {
        feature: 'pods join the instances of other registries: identity, locality, network',
        client: 'its own services',
        shown: [
          ['e2e/strict', 'answers every call, whichever kind of instance'],
          ['unit/pods', 'whoever is told first'],
        ],
      },
      {
        feature: 'localities of nodes, network of the cluster',
        client: true,
        shown: [['real/kubernetes/kubernetes', 'the locality of their node']],
      },
      {
        feature: 'namespaces, label selector',
        client: 'namespaces',
        shown: [['real/kubernetes/kubernetes', 'reads the wanted namespaces and labels']],
      },
      {
        feature: 'the rights of one namespace are enough',
        client: false,
        shown: [['real/kubernetes/kubernetes', 'where it may read one namespace only']],
      },
      {
        feature: 'clusters with the same addresses, told apart by network',
        client: true,
        shown: [['unit/pods', 'tells the pods of two clusters']],
      },
    ],
  },
];

/** The tables, as Markdown. */
export function featureTables(): string {
  return registries
    .map(({ name, client, features }) => {
      const rows = features.map(
        (feature) => `| ${[feature.feature, mark(feature.client), shownMark(feature), links(feature)].join(' | ')} |`,
      );
      return [`**${name}**`, '', `| | ${client} | Pontoon | shown by |`, '| --- | --- | --- | --- |', ...rows].join(
        '\n',
      );
    })
    .join('\n\n');
}

function mark(client: Feature['client']): string {
  return typeof client === 'string' ? client : client ? 'yes' : 'no';
}

function shownMark({ fake, feature }: Feature): string {
  if (feature === 'routing rules') return 'as notes';
  return fake ? 'yes (fake server)' : 'yes';
}

function links({ shown }: Feature): string {
  const files = [...new Set(shown.map(([file]) => file))];
  return files.map((file) => `[${file.split('/').slice(1).join('/')}](test/${file}.test.ts)`).join(', ');
}

/** Tests that are named above and are not there. @param folder of the tests' sources */
export function missingTests(folder: string): string[] {
  const all = registries.flatMap(({ features }) => features.flatMap(({ shown }) => shown));
  return all
    .filter(([file, title]) => !titles(`${folder}/${file}.test.ts`).some((found) => found.includes(title)))
    .map(([file, title]) => `${file}: ${title}`);
}

/** The titles of a file's tests, and `contract` where it runs the suite that all adapters share. */
function titles(path: string): string[] {
  const text = readFileSync(path, 'utf8');
  const found = [...text.matchAll(/\bit\(\s*(`[^`]*`|'(?:[^'\\]|\\.)*'|"[^"]*")/g)].map(([, title = '']) => title);
  return /\bcontract\(new /.test(text) ? [...found, 'contract'] : found;
}

// Run as a program, it writes the tables into the README.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const readme = readFileSync('README.md', 'utf8');
  const [before, , after] = readme.split(/<!-- \/?features -->\n/);
  writeFileSync('README.md', `${before}<!-- features -->\n\n${featureTables()}\n\n<!-- /features -->\n${after}`);
}
