import { readFileSync } from 'node:fs';

/** `json.js FILE`: parses a file, and tells when it has. */
process.send?.(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')).length);
process.on('disconnect', () => process.exit());
