import { workerData } from 'node:worker_threads';
import { giveParts } from '#sources/parts.js';
import { partsOf } from './parse.js';

// Entry point of the worker of parseAnswer: its data is the body.
giveParts(partsOf(Buffer.from(workerData as ArrayBuffer)));
