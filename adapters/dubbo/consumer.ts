import { parseAddress, short } from '#model/address.js';
import { reasonOf } from '#model/reason.js';
import type { Consumer, Rejection } from '#model/service.js';
import { type DubboService, endpointName, serviceOf } from './provider.js';
import { decodeName, param, parseUrl } from './url.js';

/** One consumer record, read. Its service's group and version may be `*` or a list with commas, as Dubbo allows. */
export type ConsumerRecord =
  | { readonly kind: 'consumer'; readonly service: DubboService; readonly consumer: Consumer }
  | { readonly kind: 'rejected'; readonly rejection: Rejection }
  | { readonly kind: 'none' };

/** Reads the name of a znode under `consumers`: a percent-encoded `consumer://` URL. Never throws. */
export function parseConsumer(name: string): ConsumerRecord {
  let record = short(name);
  try {
    const url = parseUrl(decodeName(name));
    if (url.protocol === 'empty') return { kind: 'none' };
    record = endpointName(url);
    const consumer = { application: param(url.params, 'application'), address: parseAddress(url.host).text };
    return { kind: 'consumer', service: serviceOf(url), consumer };
  } catch (error) {
    return { kind: 'rejected', rejection: { record, reason: reasonOf(error) } };
  }
}

/** Whether a consumer that asks for `wanted` calls providers of `offered`. */
export function calls(wanted: DubboService, offered: DubboService): boolean {
  return (
    wanted.interface === offered.interface &&
    (wanted.group === '*' || wanted.group === offered.group || wanted.group.split(',').includes(offered.group)) &&
    (wanted.version === '*' || wanted.version === offered.version)
  );
}
