import { parentPort, workerData } from 'node:worker_threads';
import { decodeInParts } from './decode.js';
import { PART_SIZE, parseDocument, type WorkerReply } from './parse.js';

/** Entry point of the worker of {@link parseAnswer}: its data is the body; it sends one part for each message, then the hash code. */
const document = parseDocument(Buffer.from(workerData as ArrayBuffer));
const parts = decodeInParts(document.applications, PART_SIZE);

parentPort?.on('message', () => {
  const { value, done } = parts.next();
  const reply: WorkerReply = done ? { hashCode: document.hashCode } : { part: value };
  parentPort?.postMessage(reply);
});
