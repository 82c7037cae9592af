import { contract } from '#test/real/contract/contract.js';
import { DubboOnNacosUnderTest } from './dubbo-undertest.js';

contract(new DubboOnNacosUnderTest('2.3.2', 'interface'));
contract(new DubboOnNacosUnderTest('2.3.2', 'application'));
contract(new DubboOnNacosUnderTest('3.1.0', 'application'));
