import { jsonSchema } from './schema.js';

interface SchemaNode {
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly oneOf?: readonly SchemaNode[];
  readonly anyOf?: readonly SchemaNode[];
}

interface Row {
  readonly key: string;
  readonly type: string;
  readonly standard: string;
  readonly description: string;
}

/** The configuration's keys as Markdown tables, made from the schema: those of all registries once, then what each type adds. */
export function configReference(): string {
  const root = jsonSchema() as SchemaNode;
  const types = alternatives(root.properties?.registries?.items ?? {});
  const rowsOf = new Map(types.map((type) => [type.title ?? '', objectRows(type, '')]));
  const shared = (rowsOf.get(types[0]?.title ?? '') ?? []).filter(
    (row) =>
      row.key !== 'type' &&
      [...rowsOf.values()].every((rows) =>
        rows.some(({ key, description }) => key === row.key && description === row.description),
      ),
  );
  const sharedKeys = new Set(['type', ...shared.map(({ key }) => key)]);
  const sections = [
    section(
      'Top level',
      objectRows(
        {
          ...root,
          properties: {
            ...root.properties,
            registries: { type: 'array', description: root.properties?.registries?.description ?? '' },
          },
        },
        '',
      ),
    ),
    section('Each of `registries`', [
      {
        key: 'type',
        type: types.map(({ title }) => `\`${title}\``).join(', '),
        standard: 'required',
        description: 'What kind of registry it is',
      },
      ...shared,
    ]),
    ...types.map((type) =>
      section(
        `\`type: ${type.title}\``,
        (rowsOf.get(type.title ?? '') ?? []).filter(({ key }) => !sharedKeys.has(key)),
        type.description,
      ),
    ),
  ];
  return `# Configuration reference\n\nMade from the schema by \`npm run schema\`.\n\n${sections.join('\n')}`;
}

function section(title: string, rows: readonly Row[], description = ''): string {
  const lines = rows.map(
    ({ key, type, standard, description }) => `| \`${key}\` | ${type} | ${standard} | ${description} |`,
  );
  return [
    `## ${title}`,
    '',
    ...(description === '' ? [] : [`${description}.`, '']),
    '| key | value | default | what it is |',
    '| --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
}

function objectRows(node: SchemaNode, prefix: string): Row[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, property]) => {
    const required = node.required?.includes(name) ?? false;
    return propertyRows(`${prefix}${name}`, property, required && property.default === undefined);
  });
}

function propertyRows(key: string, node: SchemaNode, required: boolean): Row[] {
  const options = alternatives(node);
  const nested = [...options, ...options.flatMap(({ items }) => (items === undefined ? [] : alternatives(items)))];
  const rows = nested.flatMap((option) =>
    objectRows(option, option === node || options.includes(option) ? `${key}.` : `${key}[].`),
  );
  if (options.every(({ properties }) => properties !== undefined) && node.description === undefined) return rows;
  const standard = required ? 'required' : node.default === undefined ? '' : `\`${JSON.stringify(node.default)}\``;
  return [{ key, type: options.map(typeText).join(' or '), standard, description: node.description ?? '' }, ...rows];
}

function alternatives(node: SchemaNode): readonly SchemaNode[] {
  return node.oneOf ?? node.anyOf ?? [node];
}

function typeText(node: SchemaNode): string {
  if (node.const !== undefined) return `\`${node.const}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${value}\``).join(', ');
  if (node.type === 'array') return node.items?.type === undefined ? 'list' : `list of ${node.items.type}s`;
  return node.type ?? 'any';
}
