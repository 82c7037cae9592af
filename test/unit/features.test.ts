import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { featureTables, missingTests } from '#test/features.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));

describe('the features that the README names', () => {
  it('have tests behind them', () => {
    expect(missingTests(`${root}test`)).to.deep.equal([]);
  });

  it('are those of test/features.ts (npm run features)', () => {
    const [, tables = ''] = readFileSync(`${root}README.md`, 'utf8').split(/<!-- \/?features -->\n/);
    expect(tables.trim()).to.equal(featureTables().trim());
  });
});
