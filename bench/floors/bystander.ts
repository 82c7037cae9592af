import { monitorEventLoopDelay } from 'node:perf_hooks';

/** As prom-client measures Pontoon's event loop. */
const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();
process.on('message', () => {
  process.send?.(delay.max / 1e6);
  delay.reset();
});
process.on('disconnect', () => process.exit());
