import { contract } from '#test/real/contract/contract.js';
import { KubernetesUnderTest } from './undertest.js';

contract(new KubernetesUnderTest());
