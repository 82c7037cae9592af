import { contract } from '#test/real/contract/contract.js';
import { ConsulUnderTest } from './undertest.js';

contract(new ConsulUnderTest());
