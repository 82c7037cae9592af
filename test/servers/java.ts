/** A JVM to start: see {@link javaArgs}. */
export interface JavaProgram {
  readonly mainClass: string;
  /** Class path entries in order; `folder/*` stands for every jar of the folder. */
  readonly classPath: readonly string[];
  /** System properties (`-D`). */
  readonly properties?: Readonly<Record<string, string | number | boolean>>;
  /** The heap's upper bound in MiB; 384 if not given. */
  readonly heapMiB?: number;
  /** Packages of java.base to open to reflection, such as `java.util`. */
  readonly opens?: readonly string[];
  readonly args?: readonly string[];
}

/** The arguments of `java` for a small JVM that starts fast: serial collector, first compiler tier only. */
export function javaArgs(program: JavaProgram): string[] {
  const { properties = {}, heapMiB = 384, opens = [], args = [] } = program;
  return [
    '-Xms64m',
    `-Xmx${heapMiB}m`,
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    '-Djava.net.preferIPv4Stack=true',
    ...Object.entries(properties).map(([key, value]) => `-D${key}=${value}`),
    ...opens.flatMap((name) => ['--add-opens', `java.base/${name}=ALL-UNNAMED`]),
    '-cp',
    program.classPath.join(':'),
    program.mainClass,
    ...args,
  ];
}
