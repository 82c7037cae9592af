import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { reasonOf } from '#model/reason.js';
import type { ServiceKey } from '#model/service.js';
import { difference, type InstanceDifference, type ServiceDifference } from '#snapshot/difference.js';
import { snapshotName } from '#snapshot/file.js';
import { decodeSnapshot, type Snapshot, SnapshotError } from '#snapshot/format.js';
import type { Known, KnownEmpty, KnownHold, KnownRegistry } from '#snapshot/known.js';
import { type ApiOptions, askBytes, CommandError, read } from './api.js';
import { columns } from './columns.js';
import { fileServices } from './frozen.js';

/** Instances of one service that are printed; the rest is counted. */
const most = 20;

interface Options {
  readonly config: string;
  readonly json?: boolean;
}

/** `pontoon snapshot show [FILE]`: what a snapshot holds, by registry. */
export async function show(file: string | undefined, options: Options): Promise<void> {
  const path = pathOf(file, options);
  const { header, known } = load(path);
  const found = { file: path, ...header, registries: known.registries.map(summary), empty: known.empty.map(emptied) };
  process.stdout.write(options.json ? `${JSON.stringify(found, null, 2)}\n` : text(found));
}

/**
 * `pontoon snapshot diff [FILE] [FILE2]`: in what a snapshot and a running Pontoon differ, or two snapshots. Exits with 1 if they do, with 2 if that cannot be told.
 */
export async function diff(
  file: string | undefined,
  other: string | undefined,
  options: Options & ApiOptions,
): Promise<void> {
  const before = load(pathOf(file, options)).known;
  const after =
    other === undefined
      ? decode(await askBytes(options, 'snapshot'), 'what the running Pontoon answered').known
      : load(other).known;
  const found = difference(before, after);
  process.stdout.write(options.json ? `${JSON.stringify(found, null, 2)}\n` : found.map(lines).join('') + total(found));
  if (found.length > 0) process.exitCode = 1;
}

const formats: Readonly<Record<string, (known: Known, options: Options) => string>> = {
  json: (known) => `${JSON.stringify(known, null, 2)}\n`,
  yaml: (known) => stringify(known, { aliasDuplicateObjects: false }),
  services: (known, options) => {
    const config = read(options.config);
    const names = new Set(config.registries.map(({ name, type }) => `${name} (${type})`));
    const others = known.registries.map(({ name, type }) => `${name} (${type})`).filter((name) => !names.has(name));
    if (others.length > 0)
      process.stderr.write(`left out, since ${options.config} has no such registry: ${others.join(', ')}\n`);
    return fileServices(known, config);
  },
};

/** `pontoon snapshot export [FILE]`: all that a snapshot holds, for other tools or as a registry of files. */
export async function exportSnapshot(
  file: string | undefined,
  options: Options & { readonly format: string },
): Promise<void> {
  const write = Object.hasOwn(formats, options.format) ? formats[options.format] : undefined;
  if (write === undefined)
    throw new CommandError(`--format ${options.format}: expected ${Object.keys(formats).join(', ')}`);
  process.stdout.write(write(load(pathOf(file, options)).known, options));
}

function pathOf(file: string | undefined, { config }: Options): string {
  if (file !== undefined) return file;
  const { directory } = read(config).state;
  if (directory === undefined) throw new CommandError(`${config}: state.directory is not set: say which file`);
  return join(directory, snapshotName);
}

function load(path: string): Snapshot {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new CommandError(`${path} cannot be read: ${reasonOf(error)}`);
  }
  return decode(bytes, path);
}

function decode(bytes: Buffer, place: string): Snapshot {
  try {
    return decodeSnapshot(bytes, place);
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    throw new CommandError(error.message);
  }
}

function summary({ name, type, services, holds }: KnownRegistry) {
  return {
    name,
    type,
    services: services.length,
    instances: services.reduce((sum, { instances }) => sum + instances.length, 0),
    held: holds.reduce((sum, { instances }) => sum + instances.length, 0),
    holds: holds.map(({ instances, ...hold }: KnownHold) => ({ ...hold, held: instances.length })),
  };
}

function emptied({ service: { host, origins }, left }: KnownEmpty) {
  return { host, isGone: origins.length === 0, left };
}

type Summary = Omit<Snapshot['header'], 'registries' | 'empty'> & {
  readonly file: string;
  readonly registries: readonly ReturnType<typeof summary>[];
  readonly empty: readonly ReturnType<typeof emptied>[];
};

function text({ file, format, pontoon, savedAt, bytes, registries, empty }: Summary): string {
  const holds = registries.flatMap(({ name, holds }) => holds.map((hold) => ({ registry: name, ...hold })));
  const tables = [
    [
      ['REGISTRY', 'TYPE', 'SERVICES', 'INSTANCES', 'HELD'],
      ...registries.map(({ name, type, ...counts }) =>
        [name, type, counts.services, counts.instances, counts.held].map(String),
      ),
    ],
    [
      ['HELD OF', 'SERVICE', 'INSTANCES', 'SINCE', 'LEFT', 'REASON'],
      ...holds.map(({ registry, service = '', held, since, left, reason }) => {
        return [registry, service, String(held), time(since), left === 0 ? 'past its time' : passed(left), reason];
      }),
    ],
    [
      ['EMPTY SERVICE', 'DELETED IN'],
      ...empty.map(({ host, left }) => [host, left === undefined ? 'a registry has it' : passed(left)]),
    ],
  ];
  return [
    `${file}: saved ${time(savedAt)}, ${passed(Date.now() - savedAt)} ago, by Pontoon ${pontoon}; format ${format}, ${bytes} bytes`,
    ...tables.flatMap((rows) => (rows.length === 1 ? [] : ['', ...columns(rows)])),
    '',
  ].join('\n');
}

function time(at: number): string {
  return new Date(at).toISOString();
}

/** A time span for people, in its two largest units. */
function passed(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const first = units.findIndex(([count]) => count > 0);
  if (first < 0) return '0s';
  return units
    .slice(first, first + 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}

const signs = { added: '+', removed: '-', changed: '~' } as const;

function lines({ service, what, fields, instances }: ServiceDifference): string {
  const shown = instances.slice(0, most).map((instance) => `    ${ofInstance(instance)}\n`);
  const more = instances.length > most ? `    and ${instances.length - most} more\n` : '';
  const own = fields.length === 0 ? '' : `: ${fields.join(', ')}`;
  return `${signs[what]} ${nameOf(service)}${own}\n${shown.join('')}${more}`;
}

function nameOf({ registry, namespace, group, name, version }: ServiceKey): string {
  return [registry, namespace, group, name, version].filter((part) => part !== '').join('/');
}

function ofInstance({ instance, what, fields }: InstanceDifference): string {
  const changes = Object.entries(fields).map(([name, pair]) => `${name} ${pair.map(valueText).join(' → ')}`);
  return `${signs[what]} ${instance}${changes.length === 0 ? '' : `: ${changes.join(', ')}`}`;
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? value || '""' : (JSON.stringify(value) ?? 'none');
}

function total(found: readonly ServiceDifference[]): string {
  if (found.length === 0) return 'nothing differs\n';
  const counts = (list: readonly { readonly what: string }[]) =>
    Object.keys(signs)
      .map((what) => `${list.filter((one) => one.what === what).length} ${what}`)
      .join(', ');
  return `\nservices: ${counts(found)}; instances: ${counts(found.flatMap(({ instances }) => instances))}\n`;
}
