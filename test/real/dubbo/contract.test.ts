import { contract } from '#test/real/contract/contract.js';
import { DubboOnNacosUnderTest } from './undertest.js';

contract(new DubboOnNacosUnderTest('2.3.2', 'interface'));
contract(new DubboOnNacosUnderTest('2.3.2', 'application'));
