import { createHmac } from 'node:crypto';

/** What a request is about, as far as signatures say it. Parts that it does not have are empty. */
export type Resource =
  | { readonly module: 'naming'; readonly group: string; readonly service: string }
  | { readonly module: 'config'; readonly tenant: string; readonly group: string };

/** For what is about no service in particular. */
export const anyService: Resource = { module: 'naming', group: '', service: '' };

export interface AccessKey {
  readonly accessKey: string;
  readonly secretKey: string;
  /** Cloud region, where the vendor wants version 4 of the signature; undefined for version 1. */
  readonly region: string | undefined;
}

/**
 * The fields that the Java client adds to a request with an access key, for the cloud vendors' Nacos: HMAC-SHA1 over the time and what is asked
 * for. Over gRPC they are headers, over HTTP query parameters of naming and headers of the configuration.
 * @param now ms since 1970; servers want it to be near their own clock
 */
export function signed(resource: Resource, { accessKey, secretKey, region }: AccessKey, now: number) {
  const key = region === undefined ? secretKey : regionalKey(secretKey, region, now);
  const version: Record<string, string> = region === undefined ? {} : { signatureVersion: 'v4' };
  if (resource.module === 'naming') {
    const { group, service } = resource;
    const data = group === '' && service === '' ? `${now}` : `${now}@@${group}@@${service}`;
    return { ...version, ak: accessKey, data, signature: hmac('sha1', key, data).toString('base64') };
  }
  const data = [resource.tenant, resource.group, `${now}`].filter((part) => part !== '').join('+');
  return {
    ...version,
    'Spas-AccessKey': accessKey,
    Timestamp: `${now}`,
    'Spas-Signature': hmac('sha1', key, data).toString('base64'),
  };
}

/** The key of one day and one region, so that the secret itself signs nothing. */
function regionalKey(secretKey: string, region: string, now: number): string {
  const day = new Date(now).toISOString().slice(0, 10).replaceAll('-', '');
  let key: string | Buffer = `aliyun_v4${secretKey}`;
  for (const part of [day, region, 'mse-nacos', 'aliyun_v4_request']) key = hmac('sha256', key, part);
  return key.toString('base64');
}

function hmac(algorithm: string, key: string | Buffer, data: string): Buffer {
  return createHmac(algorithm, key).update(data).digest();
}
