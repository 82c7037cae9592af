import type { ServiceDefinition } from '@grpc/grpc-js';
import { DeltaDiscoveryRequest, DiscoveryRequest } from '#proto/xds/discovery.js';

export const serviceName = 'envoy.service.discovery.v3.AggregatedDiscoveryService';

interface RequestType<Request> {
  encode(request: Request): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Request;
}

/** Responses are put together from encoded pieces. */
function stream<Request>(name: string, type: RequestType<Request>) {
  return {
    path: `/${serviceName}/${name}`,
    requestStream: true,
    responseStream: true,
    requestSerialize: (request: Request) => Buffer.from(type.encode(request).finish()),
    requestDeserialize: (bytes: Buffer) => type.decode(bytes),
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  };
}

export const aggregatedDiscovery: ServiceDefinition = {
  streamAggregatedResources: stream('StreamAggregatedResources', DiscoveryRequest),
  deltaAggregatedResources: stream('DeltaAggregatedResources', DeltaDiscoveryRequest),
};
