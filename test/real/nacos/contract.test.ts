import { contract } from '#test/real/contract/contract.js';
import { NacosUnderTest } from './undertest.js';

contract(new NacosUnderTest('2.3.2', 'grpc', 60));
contract(new NacosUnderTest('2.3.2', 'http', 480));
contract(new NacosUnderTest('3.1.0', 'grpc', 60));
