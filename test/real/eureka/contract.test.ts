import { contract } from '#test/real/contract/contract.js';
import { EurekaUnderTest } from './undertest.js';

contract(new EurekaUnderTest());
