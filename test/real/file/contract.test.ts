import { contract } from '#test/real/contract/contract.js';
import { FilesUnderTest } from './undertest.js';

contract(new FilesUnderTest());
