import { KubeError } from '#kubernetes/kubeclient.js';
import { reasonOf } from '#model/reason.js';

/** Why an object is not as it should be. `since` is in ms since 1970. */
export interface Problem {
  /** `namespace/name`. */
  readonly object: string;
  readonly host: string;
  /**
   * `refused`: by us or by the API server, and asking again does not help. `conflict`: another field manager holds fields of it. `foreign`: an object of that
   * name is somebody else's. `failed`: it is tried again soon. `kept`: the services that it is about may still come.
   */
  readonly kind: 'refused' | 'conflict' | 'foreign' | 'failed' | 'kept';
  readonly reason: string;
  readonly since: number;
}

/** What becomes of a request that failed. */
export interface Failure {
  readonly kind: 'refused' | 'conflict' | 'failed';
  readonly reason: string;
  /** Whether it is the API server that does not answer or asks for a pause: then all wait. */
  readonly isServer: boolean;
  /** Whether the API server knows no such objects, in this version at least. */
  readonly isUnknown: boolean;
  /** ms that the server asked for. */
  readonly retryAfter: number;
}

/** Judges a failed write. */
export function failureOf(error: unknown): Failure {
  const reason = reasonOf(error);
  const { status, retryAfter = 0, causes = [] } = error instanceof KubeError ? error : new KubeError(reason);
  const failed = (isServer: boolean): Failure => ({ kind: 'failed', reason, isServer, isUnknown: false, retryAfter });
  const refused = (advice: string): Failure => ({
    kind: 'refused',
    reason: `${reason}: ${advice}`,
    isServer: false,
    isUnknown: status === 404 && !reason.includes('" not found'),
    retryAfter: 0,
  });
  switch (status) {
    case undefined:
    case 401:
    case 429:
    case 503:
    case 504:
      return failed(true);
    case 403:
      return refused("the account needs what deploy/rbac.yaml grants, and the cluster's admission has to let it pass");
    case 404:
      return refused(
        reason.includes('namespaces "')
          ? 'create that namespace, or give the service another'
          : "install Istio's CRDs (the chart istio/base)",
      );
    case 409: {
      const held = causes.filter((cause) => cause.reason === 'FieldManagerConflict');
      if (held.length === 0) return failed(false);
      const fields = held.map(({ field, message }) => `${field} (${message})`).join(', ');
      return {
        kind: 'conflict',
        reason: `others hold fields of it: ${fields}; nothing is forced: let them give these up, or delete the object, and it is made anew`,
        isServer: false,
        isUnknown: false,
        retryAfter: 0,
      };
    }
    case 400:
    case 405:
    case 413:
    case 415:
    case 422:
      return refused('it stays as it was in the cluster');
    default:
      return failed(false);
  }
}
