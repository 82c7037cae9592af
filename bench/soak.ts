import { startNacos } from '#test/servers/nacos.js';
import { startPontoon } from '#test/servers/pontoon.js';
import { Ring } from '../test/e2e/ring.js';

const minutes = Number(process.argv[2] ?? '10');
if (!(minutes > 0)) throw new Error(`${process.argv[2]} is not a number of minutes`);

/** A ring of three real registries under churn: every quarter of a minute the entries are counted. */
const nacos = await startNacos();
const ring = new Ring(nacos);
const pontoon = await startPontoon(await ring.config());
try {
  const { steps, off } = await ring.churn(pontoon, minutes * 60_000, (text) => console.log(text));
  console.log(
    `${steps} instances came or went; the numbers were ${off.length === 0 ? 'exact' : `off ${off.length} times`}`,
  );
  process.exitCode = off.length === 0 ? 0 : 1;
} finally {
  await pontoon.stop();
  await nacos.stop();
}
