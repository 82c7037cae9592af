import { connect } from 'node:net';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { z } from 'zod';
import { hostPortText } from '#config/fields.js';
import { short } from '#model/address.js';
import { MetadataInfoV2, MetadataRequest } from '#proto/dubbo/metadata.js';
import { type ApplicationInstance, type ApplicationMetadata, readApplicationMetadata } from './application.js';
import { HessianReader, writeText, writeTexts } from './hessian.js';

/** ms for one instance to answer. */
const timeout = 3_000;
/** Bytes of an answer, at most: what thousands of services take. */
const most = 2 << 20;

const port = z.coerce.number().int().min(1).max(65_535);
const endpoint = z.object({ protocol: z.string(), port });
/** Up to 3.0 by protocol. */
const endpoints = z.union([
  endpoint,
  z.record(z.string(), z.object({ port })).transform((all, context) => {
    const [first] = Object.entries(all);
    if (first === undefined) context.addIssue('no protocol');
    return { protocol: first?.[0] ?? '', port: first?.[1].port ?? 0 };
  }),
]);

/**
 * Asks a Dubbo instance itself what it provides, by its metadata service: over the dubbo protocol (MetadataService 1.0.0) or over triple
 * (MetadataServiceV2 2.0.0, since Dubbo 3.3), as its metadata says. One connection, one question, in 3 seconds at most.
 * @param signal gives up
 * @throws Error that names the place that was asked, and what was wrong
 */
export async function askMetadata(instance: ApplicationInstance, signal: AbortSignal): Promise<ApplicationMetadata> {
  signal.throwIfAborted();
  const params = instance.metadata['dubbo.metadata-service.url-params'];
  if (params === undefined) throw new Error('it says nothing of a metadata service');
  const found = endpoints.safeParse(parsed(params));
  if (!found.success) throw new Error(`its metadata service has no protocol and port: ${short(params)}`);
  const { protocol, port: number } = found.data;
  const place = `${protocol}://${hostPortText({ host: instance.address, port: number })}`;
  if (protocol !== 'tri' && protocol !== 'dubbo')
    throw new Error(`its metadata service at ${place} speaks neither tri nor dubbo`);
  try {
    const answer = await (protocol === 'tri' ? askTriple : askDubbo)(instance, number, signal);
    if (answer === null || answer === undefined)
      throw new Error(`it does not know revision ${short(instance.revision)}`);
    return readApplicationMetadata(answer);
  } catch (error) {
    throw new Error(`metadata service at ${place}: ${error instanceof Error ? error.message : error}`);
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function askTriple(
  { application, address, revision }: ApplicationInstance,
  number: number,
  signal: AbortSignal,
): Promise<unknown> {
  const client = new Client(hostPortText({ host: address, port: number }), credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.max_receive_message_length': most,
  });
  const headers = new Metadata();
  headers.set('tri-service-version', '2.0.0');
  headers.set('tri-service-group', application);
  return new Promise((resolve, reject) => {
    const give = () => call.cancel();
    const call = client.makeUnaryRequest(
      '/org.apache.dubbo.metadata.MetadataServiceV2/GetMetadataInfo',
      (request: MetadataRequest) => Buffer.from(MetadataRequest.encode(request).finish()),
      MetadataInfoV2.decode,
      { revision },
      headers,
      { deadline: Date.now() + timeout },
      (error, answer) => {
        signal.removeEventListener('abort', give);
        client.close();
        if (error === null) resolve(answer);
        else reject(new Error(error.details));
      },
    );
    signal.addEventListener('abort', give, { once: true });
  });
}

const magic = 0xdabb;
const headerLength = 16;
/** A question that wants an answer, in Hessian 2. */
const questionFlag = 0xc2;
const ok = 20;

/** https://cn.dubbo.apache.org/en/overview/reference/protocols/tcp/ */
function dubboQuestion({ application, revision }: ApplicationInstance): Buffer {
  const name = 'org.apache.dubbo.metadata.MetadataService';
  const version = '1.0.0';
  const attachments = { path: name, interface: name, version, group: application };
  const texts = ['2.0.2', name, version, 'getMetadataInfo', 'Ljava/lang/String;', revision];
  const body = Buffer.concat([...texts.map(writeText), writeTexts(attachments)]);
  const header = Buffer.alloc(headerLength);
  header.writeUInt16BE(magic, 0);
  header.writeUInt8(questionFlag, 2);
  header.writeBigInt64BE(1n, 4);
  header.writeUInt32BE(body.length, 12);
  return Buffer.concat([header, body]);
}

function askDubbo(instance: ApplicationInstance, number: number, signal: AbortSignal): Promise<unknown> {
  const socket = connect({ host: instance.address, port: number });
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let whole: number | undefined;
    const failed = (reason: string) => reject(new Error(reason));
    const give = () => failed('not asked any more');
    const timer = setTimeout(() => failed(`no answer within ${timeout} ms`), timeout);
    signal.addEventListener('abort', give, { once: true });
    socket.on('connect', () => socket.write(dubboQuestion(instance)));
    socket.on('error', (error) => failed(error.message));
    socket.on('close', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', give);
      failed('it ended the connection');
    });
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      length += chunk.length;
      try {
        if (length >= headerLength) whole ??= answerLength(Buffer.concat(chunks));
        if (whole !== undefined && length >= whole) resolve(readAnswer(Buffer.concat(chunks).subarray(0, whole)));
      } catch (error) {
        reject(error);
      }
    });
  }).finally(() => socket.destroy());
}

/** Bytes of an answer with its header. @throws Error if it is none, or too long */
function answerLength(header: Buffer): number {
  if (header.readUInt16BE(0) !== magic) throw new Error('it answered something that is not of Dubbo');
  const bodyLength = header.readUInt32BE(12);
  if (bodyLength > most) throw new Error(`its answer has ${bodyLength} bytes, expected at most ${most}`);
  return headerLength + bodyLength;
}

/** @param data a whole answer @throws Error if it cannot be read, or says no */
function readAnswer(data: Buffer): unknown {
  const reader = new HessianReader(data.subarray(headerLength));
  const status = data.readUInt8(3);
  if (status !== ok) throw new Error(`it answered status ${status}: ${short(String(reader.read()))}`);
  // With attachments behind it, each kind has a second number.
  const kind = Number(reader.read()) % 3;
  if (kind === 2) return null;
  const value = reader.read();
  if (kind === 1) return value;
  const message = typeof value === 'object' && value !== null && 'detailMessage' in value ? value.detailMessage : value;
  throw new Error(`it failed: ${short(String(message))}`);
}
