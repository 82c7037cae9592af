import { workerData } from 'node:worker_threads';
import { giveParts } from '#sources/parts.js';
import { type FileText, partsOf } from './parse.js';

// Entry point of the worker of parseFile: its data is the text.
giveParts(partsOf(workerData as FileText));
