import { parseArgs } from 'node:util';
import { Bench, type Scenario } from './bench.js';
import { registryNames } from './loads/load.js';
import { write } from './report.js';
import { full, quick } from './scale.js';
import { burst, change, large, replaced } from './scenarios/change.js';
import { istiods, push, slow } from './scenarios/clients.js';
import { istiod } from './scenarios/istiod.js';
import { meshregistry, nacosPeer } from './scenarios/peers.js';
import { down, idle } from './scenarios/quiet.js';
import { churn, rates } from './scenarios/rates.js';
import { cold, restart } from './scenarios/start.js';

/**
 * `npm run bench [-- --quick] [--only NAME,NAME] [--registries NAME,NAME] [--repeats N] [--to FOLDER] [--save]`: what Pontoon costs and how fast it is, each figure beside its floor. Ends with 1 if an
 * endpoint was lost or too much at the end of a scenario, whatever the times were.
 */
const scenarios: readonly Scenario[] = [
  meshregistry,
  nacosPeer,
  burst,
  large,
  cold,
  restart,
  push,
  change,
  istiod,
  rates,
  istiods,
  slow,
  replaced,
  churn,
  idle,
  down,
];

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    registries: { type: 'string' },
    repeats: { type: 'string' },
    save: { type: 'boolean', default: false },
    to: { type: 'string', default: 'bench-result' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(`npm run bench [-- --quick] [--only NAME,NAME] [--registries NAME,NAME] [--repeats N] [--to FOLDER] [--save]

  --quick      everything once, small: shows that nothing is lost, and no speed
  --only       these scenarios alone
  --registries of the scenarios that measure each registry: these alone
  --repeats    how often each figure is taken (5; --quick: 1)
  --to         writes the result there (bench-result)
  --save       writes it into bench/results and the README instead, and keeps there what was not measured

Scenarios:
${scenarios.map(({ name, title }) => `  ${name.padEnd(20)} ${title}`).join('\n')}`);
  process.exit();
}
const only = values.only?.split(',').map((name) => name.trim());
const registries = registryNames.filter((name) => values.registries?.split(',').includes(name) ?? true);
const unknown = only?.filter((name) => !scenarios.some((scenario) => scenario.name === name)) ?? [];
if (unknown.length > 0)
  throw new Error(`no scenario ${unknown.join(', ')}: one of ${scenarios.map(({ name }) => name).join(', ')}`);
const scale = values.quick ? quick : full;
const repeats = Number(values.repeats ?? scale.repeats);
if (!Number.isInteger(repeats) || repeats < 1)
  throw new Error(`--repeats ${values.repeats}: expected a whole number from 1`);

const bench = new Bench({ ...scale, repeats, registries }, (text) => console.log(text));
try {
  for (const scenario of scenarios) if (only === undefined || only.includes(scenario.name)) await bench.run(scenario);
} finally {
  await bench.stop();
}
write(
  bench,
  values.save ? 'README' : values.to,
  scenarios.map(({ name }) => name),
);
const { wrong } = bench.figures;
for (const text of wrong) console.error(`WRONG ${text}`);
console.log(wrong.length === 0 ? 'No endpoint was lost or too much.' : `${wrong.length} wrong`);
process.exit(wrong.length === 0 ? 0 : 1);
