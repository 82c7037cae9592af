import { parentPort, type TransferListItem, Worker } from 'node:worker_threads';

type Reply<Part, End> = { readonly part: Part } | { readonly end: End };

/**
 * Runs a worker thread that makes something big part by part, and takes each part in a turn of its own: neither the making nor the handing over holds up the event loop.
 * @param entry the worker's module, which calls {@link giveParts}
 * @param data what the worker gets as its data
 * @param transfer what of it is handed over rather than copied
 * @returns what the worker gives at the end
 * @throws Error that the worker threw, parts may have been taken before; or the signal's reason
 */
export function takeParts<Part, End>(
  entry: URL,
  data: unknown,
  take: (part: Part) => void,
  signal: AbortSignal,
  transfer: TransferListItem[] = [],
): Promise<End> {
  const worker = new Worker(entry, { workerData: data, transferList: transfer });
  let abort: () => void = () => {};
  return new Promise<End>((resolve, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the worker ended early')));
    worker.on('message', (reply: Reply<Part, End>) => {
      if ('end' in reply) return resolve(reply.end);
      take(reply.part);
      worker.postMessage('next');
    });
    worker.postMessage('next');
  }).finally(() => {
    signal.removeEventListener('abort', abort);
    return worker.terminate();
  });
}

/** The worker's side of {@link takeParts}: gives each part when it is asked for, and what the parts return at the end. */
export function giveParts<Part, End>(parts: Iterator<Part, End>): void {
  parentPort?.on('message', () => {
    const { value, done } = parts.next();
    const reply: Reply<Part, End> = done === true ? { end: value } : { part: value };
    parentPort?.postMessage(reply);
  });
}
