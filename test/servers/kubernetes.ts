import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const LIST_KINDS: Readonly<Record<string, string>> = {
  configmaps: 'ConfigMapList',
  customresourcedefinitions: 'CustomResourceDefinitionList',
  endpointslices: 'EndpointSliceList',
  ingressclasses: 'IngressClassList',
  ingresses: 'IngressList',
  mutatingwebhookconfigurations: 'MutatingWebhookConfigurationList',
  namespaces: 'NamespaceList',
  nodes: 'NodeList',
  pods: 'PodList',
  secrets: 'SecretList',
  services: 'ServiceList',
  validatingwebhookconfigurations: 'ValidatingWebhookConfigurationList',
};

let started: Promise<string> | undefined;

/**
 * The address of a Kubernetes API that is just enough for istiod, which does not start without one:
 * lists are empty, watches are silent, writes are forbidden. One serves the whole process.
 */
export function emptyKubernetes(): Promise<string> {
  started ??= new Promise((resolve, reject) => {
    const server = createServer(answer);
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
    server.on('connection', (socket) => socket.unref());
    server.unref();
  });
  return started;
}

interface Answer {
  readonly status: number;
  /** Left out for a watch, whose answer never ends. */
  readonly body?: object;
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  request.resume();
  const { status, body } = request.method === 'GET' ? read(request) : failure(403, 'Forbidden');
  response.writeHead(status, { 'content-type': 'application/json' });
  if (body) response.end(JSON.stringify(body));
  else response.flushHeaders();
}

function read(request: IncomingMessage): Answer {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/version') return found({ major: '1', minor: '34', gitVersion: 'v1.34.0' });
  if (pathname === '/api') return found({ kind: 'APIVersions', versions: ['v1'] });
  if (pathname === '/apis') return found({ kind: 'APIGroupList', apiVersion: 'v1', groups: [] });
  // Makes the client list and watch instead of asking for the list within the watch.
  if (searchParams.has('sendInitialEvents')) return failure(422, 'Invalid');
  if (/^(true|1)$/.test(searchParams.get('watch') ?? '')) return { status: 200 };
  const resource = parse(pathname);
  if (resource.named) return failure(404, 'NotFound');
  const metadataOnly = request.headers.accept?.includes('as=PartialObjectMetadataList');
  return found({
    kind: metadataOnly ? 'PartialObjectMetadataList' : (LIST_KINDS[resource.plural] ?? 'List'),
    apiVersion: metadataOnly ? 'meta.k8s.io/v1' : resource.apiVersion,
    metadata: { resourceVersion: '1' },
    items: [],
  });
}

/** `/api/v1/...` or `/apis/GROUP/VERSION/...`, then `[namespaces/NAME/]PLURAL[/NAME]`. */
function parse(path: string): { apiVersion: string; plural: string; named: boolean } {
  const [root, ...parts] = path.split('/').filter(Boolean);
  const apiVersion = parts.splice(0, root === 'api' ? 1 : 2).join('/');
  if (parts[0] === 'namespaces' && parts.length > 2) parts.splice(0, 2);
  return { apiVersion, plural: parts[0] ?? '', named: parts.length > 1 };
}

function found(body: object): Answer {
  return { status: 200, body };
}

function failure(code: number, reason: string): Answer {
  const message = 'nothing is stored here';
  return { status: code, body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, code, message } };
}
