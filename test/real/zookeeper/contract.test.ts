import { contract } from '#test/real/contract/contract.js';
import { applicationLayout, interfaceLayout, springLayout } from './layouts.js';
import { ZooKeeperUnderTest } from './undertest.js';

for (const layout of [interfaceLayout, applicationLayout, springLayout]) contract(new ZooKeeperUnderTest(layout));
