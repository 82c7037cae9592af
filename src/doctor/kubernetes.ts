import { KubeClient } from '#kubernetes/kubeclient.js';
import { reasonOf } from '#model/reason.js';
import type { KubernetesStatus } from '#sinks/kubernetes/sink.js';
import { counted, type Finding, listed, Subject } from './finding.js';
import type { Check, Patient } from './patient.js';

/** What the Kubernetes sink does with ServiceEntries. */
const verbs = ['list', 'watch', 'create', 'patch', 'delete'] as const;
/** Those that have to be granted for all namespaces: what is others' is told from ours everywhere. */
const everywhere: readonly string[] = ['list', 'watch'];

/** Whether the Kubernetes sink may do what it has to. */
export const kubernetesCheck: Check = {
  name: 'Kubernetes sink',
  examine: async (patient) => {
    const { kubernetes } = patient.config.istio;
    if (kubernetes === undefined) return [];
    const subject = new Subject('istio.kubernetes');
    try {
      const client = await KubeClient.load(kubernetes.kubeconfig);
      const status = patient.running?.doors.kubernetes;
      return [
        ...(await ofRights(client, subject, patient)),
        ...ofSink(status, subject),
        ...ofBothDoors(patient, status, subject),
      ];
    } catch (error) {
      return [
        subject.fail(reasonOf(error), {
          advice: 'correct istio.kubernetes.kubeconfig, or start Pontoon in a pod with an account of its own',
        }),
      ];
    }
  },
};

async function ofRights(client: KubeClient, subject: Subject, { limitMs }: Patient): Promise<Finding[]> {
  const signal = new AbortController().signal;
  const answers = await Promise.all(verbs.map((verb) => mayI(client, verb, signal, limitMs)));
  const denied = verbs.filter((_, index) => !answers[index]);
  if (denied.length === 0) return [subject.ok(`its account may ${verbs.join(', ')} ServiceEntries in every namespace`)];
  const found = `its account may not ${denied.join(', ')} serviceentries.networking.istio.io in every namespace`;
  const expected = verbs.join(', ');
  if (denied.some((verb) => everywhere.includes(verb)))
    return [
      subject.fail(found, {
        expected,
        advice: 'kubectl apply -f deploy/rbac.yaml, or bind the same rights to the account in use',
      }),
    ];
  return [
    subject.warn(found, {
      expected,
      advice: 'bind the rights of deploy/rbac.yaml to it, unless Roles grant them where Pontoon writes',
    }),
  ];
}

async function mayI(client: KubeClient, verb: string, signal: AbortSignal, timeout: number): Promise<boolean> {
  const review = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes: { verb, group: 'networking.istio.io', resource: 'serviceentries' } },
  };
  const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
  const answer = (await client.ask({ method: 'POST', path, body: review, timeout }, signal)) as {
    readonly status?: { readonly allowed?: boolean };
  };
  return answer.status?.allowed === true;
}

/** How the sink of a running Pontoon is doing. */
function ofSink(status: KubernetesStatus | undefined, subject: Subject): Finding[] {
  if (status === undefined) return [];
  if (status.error !== undefined)
    return [
      subject.fail(`the running Pontoon cannot ask it: ${status.error}`, {
        advice: 'look at the API server, and at our rights there',
      }),
    ];
  const { problems, state, objects, services } = status;
  if (problems.length === 0)
    return [subject.ok(`${state}, ${counted(objects, 'object')} of ours for ${counted(services, 'service')}`)];
  const told = problems.map(({ kind, object, reason }) => `${object} (${kind}): ${reason}`);
  return [
    subject.warn(`${counted(problems.length, 'object')} not as they should be: ${listed(told, 3)}`, {
      advice:
        'conflict: let the other field manager go of our fields; foreign: rename or remove that object; refused: mend what the reason names',
    }),
  ];
}

/** What is shown over xDS, too, or instead. */
function ofBothDoors({ config }: Patient, status: KubernetesStatus | undefined, subject: Subject): Finding[] {
  const { xds, kubernetes } = config.istio;
  if (status === undefined || xds.length === 0) return [];
  if (kubernetes?.keepOnXds === true)
    return [
      subject.warn(`${counted(status.services, 'service')} both as objects and over xDS (keepOnXds)`, {
        advice:
          'no istiod may read both: take keepOnXds away, or leave our listeners to istiods that do not see this cluster',
      }),
    ];
  if (status.uncovered === 0 || status.error !== undefined) return [];
  return [
    subject.warn(`${counted(status.uncovered, 'service')} without an object: over xDS instead`, {
      advice:
        'nothing, if objects are still being written; else see what is refused: an istiod without our listeners does not have them',
    }),
  ];
}
