import { ConfigError, loadConfig } from '#config/load.js';

/** `pontoon validate FILE`: says what is wrong with a configuration, each with file, line and column. */
export function validate(file: string): void {
  try {
    const { registries } = loadConfig(file);
    process.stdout.write(
      `${file}: valid, ${registries.length} ${registries.length === 1 ? 'registry' : 'registries'}\n`,
    );
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
