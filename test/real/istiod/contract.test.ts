import { contract } from '#test/real/contract/contract.js';
import { IstiodUnderTest } from './undertest.js';

contract(new IstiodUnderTest());
