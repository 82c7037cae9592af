import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { dnsLabel, parseAddress } from '#model/address.js';
import { isLocality } from '#model/locality.js';
import { type Protocol, protocols } from '#model/protocol.js';
import {
  ExpressionError,
  instanceCondition,
  instanceTemplate,
  namesInstance,
  serviceCondition,
  serviceTemplate,
} from '#policy/expression.js';
import { hostName } from '#policy/naming.js';
import { hostPresets, templateOf } from '#policy/presets.js';
import { serviceFieldsOf } from '#policy/rules.js';
import { duration, exportTo, share } from './fields.js';

/** @param isValid checks a text without templates, which is the same for all services */
function template(
  compile: (text: string) => unknown,
  variables: string,
  isValid: (text: string) => boolean = () => true,
) {
  return z
    .string()
    .min(1)
    .meta({ description: `Text with CEL between {{ }}; variables: ${variables}` })
    .superRefine((text, context) => {
      try {
        compile(templateOf(text));
        if (!text.includes('{{') && !isValid(text))
          context.addIssue({ code: 'custom', message: `"${text}" cannot be used here` });
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        context.addIssue({ code: 'custom', message: error.message });
      }
    });
}

export const ofService = (isValid?: (text: string) => boolean) =>
  template(serviceTemplate, 'registry.{name, type}, service.{name, namespace, group, version, metadata}', isValid);
export const ofInstance = (isValid?: (text: string) => boolean) =>
  template(instanceTemplate, 'those of host, and instance.{address, port, status, weight, zone, metadata}', isValid);

/** For the reference: what `host` takes besides templates. */
export const presetsText = `The hosts of other bridges: ${Object.entries(hostPresets)
  .map(([name, { of }]) => `\`preset:${name}\` (${of})`)
  .join(', ')}`;

const protocol = z.enum(Object.keys(protocols) as [Protocol, ...Protocol[]]);
const port = z.int().min(1).max(65_535);
const globs = z.array(z.string().min(1));
const texts = z.record(z.string().min(1), z.string());

const labelKey = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

const service = {
  drop: z.literal(true).optional().meta({ description: 'Leaves the service out' }),
  host: ofService()
    .optional()
    .meta({ description: `Template of the host. ${presetsText}` }),
  aliases: z
    .array(ofService())
    .optional()
    .meta({ description: 'Further hosts, which give way to hosts of other services' }),
  namespace: ofService((text) => dnsLabel.test(text))
    .optional()
    .meta({ description: 'Template of the Istio namespace' }),
  exportTo: exportTo().optional(),
  ports: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(dnsLabel, 'expected a DNS label')
          .meta({ description: 'Istio style: http, grpc-admin, tcp-dubbo' }),
        number: port.meta({ description: 'What callers in the mesh dial' }),
        protocol: protocol.optional().meta({ description: 'What it speaks, if the name does not say' }),
        target: port
          .optional()
          .meta({ description: 'Dialled at the instances instead of their own port of that name' }),
      }),
    )
    .min(1)
    .superRefine((ports, context) => {
      for (const [index, { name, number }] of ports.entries())
        for (const field of ['name', 'number'] as const)
          if (ports.findIndex((other) => other[field] === { name, number }[field]) < index)
            context.addIssue({ code: 'custom', path: [index, field], message: `a second port has this ${field}` });
    })
    .optional()
    .meta({ description: 'Service ports by rule' }),
  protocol: protocol.optional().meta({ description: 'What ports without a name speak, whatever the registry says' }),
  location: z
    .enum(['internal', 'external'])
    .optional()
    .meta({ description: 'MESH_INTERNAL unless set; external switches automatic mutual TLS off' }),
  revision: z.string().regex(dnsLabel, 'expected a DNS label').optional().meta({
    description:
      'The one revision of istiod that shall see it (label istio.io/rev); an istiod without a revision of its own sees all',
  }),
  prefer: z
    .union([
      z.literal('merge'),
      z.literal('first').transform(() => ({ first: { least: 1 } })),
      z.strictObject({ first: z.strictObject({ least: z.int().min(1) }) }),
    ])
    .optional()
    .meta({
      description:
        'Of registries that hold the host: merge all, or take the endpoints of the first, and of the next ones while there are fewer than `least`',
    }),
  gatewayPort: port.optional().meta({ description: 'Where the edge gateways of other networks take this service' }),
};

const endpoint = {
  metadata: z
    .strictObject({
      rename: texts.optional().meta({ description: 'Key → its new name' }),
      map: z.record(z.string(), texts).optional().meta({ description: 'Key → value → the value to have instead' }),
      set: z.record(z.string().min(1), ofInstance()).optional().meta({ description: 'Key → template of its value' }),
      drop: globs.optional().meta({ description: 'Globs of keys to leave out' }),
    })
    .optional()
    .meta({ description: 'Changes metadata before it becomes labels: rename, map, set, drop, in this order' }),
  health: z
    .enum(['serve', 'drain', 'drop'])
    .optional()
    .meta({ description: 'Whether it gets traffic, keeps its sessions only, or is left out, whatever its status' }),
  weight: z
    .strictObject({
      share: share().optional().meta({ description: 'A share of the weight, such as 50%' }),
      min: z.int().min(1).optional().meta({ description: 'Least weight; 100 is nominal' }),
      max: z.int().min(1).optional().meta({ description: 'Greatest weight; 100 is nominal' }),
      slowStart: duration(1).optional().meta({
        description: 'Grows to its weight in this time after its last change, where the registry says when that was',
      }),
    })
    .refine(({ min = 1, max = min }) => min <= max, 'min is above max')
    .optional(),
  locality: ofInstance((text) => isLocality(text))
    .optional()
    .meta({ description: 'Template of region/zone/subzone, instead of what the registry says' }),
  network: ofInstance()
    .optional()
    .meta({ description: 'Template of the Istio network, instead of what the registry says' }),
  labels: z
    .strictObject({
      copy: globs
        .optional()
        .meta({ description: 'Globs of the metadata that become labels; all but volatile and secret ones unless set' }),
      drop: globs.optional().meta({ description: 'Globs of metadata that become none' }),
      set: z
        .record(z.string().regex(labelKey, 'expected a label name'), ofInstance())
        .optional()
        .meta({ description: 'Label → template of its value' }),
    })
    .optional(),
  serviceAccount: ofInstance().optional().meta({ description: 'Template of the service account, for mutual TLS' }),
};

/** One policy. */
export const policy = z
  .strictObject({
    when: z
      .string()
      .min(1)
      .optional()
      .superRefine((text, context) => {
        if (text === undefined) return;
        for (const [, range = ''] of text.matchAll(/\bcidr\([^,()]+,\s*["']([^"']*)["']\s*\)/g))
          if (!ipaddr.isValidCIDR(range))
            context.addIssue({ code: 'custom', message: `"${range}" is not a range such as 10.1.0.0/16` });
        try {
          if (namesInstance(text)) instanceCondition(text);
          else serviceCondition(text);
        } catch (error) {
          if (!(error instanceof ExpressionError)) throw error;
          context.addIssue({ code: 'custom', message: error.message });
        }
      })
      .meta({
        description: 'Condition in CEL; all services unless set. One that names instance chooses among instances',
      }),
    ...service,
    ...endpoint,
  })
  .superRefine((found, context) => {
    if (found.when === undefined || !namesInstance(found.when)) return;
    for (const field of serviceFieldsOf(found))
      context.addIssue({
        code: 'custom',
        path: [field],
        message: `a policy whose condition names instance cannot say ${field}, which is the whole service's: take another policy for it`,
      });
  });

/** An alias that is another policy's host would be lost. */
export function checkAliases(policies: readonly z.output<typeof policy>[], context: z.RefinementCtx): void {
  const hosts = new Map(policies.map(({ host }, index) => [host, index]));
  for (const [index, { aliases = [] }] of policies.entries())
    for (const [number, alias] of aliases.entries()) {
      const other = hosts.get(alias);
      // With a template in it it may be another one for each service.
      if (other === undefined || alias.includes('{{')) continue;
      const path = [index, 'aliases', number];
      const message = `"${alias}" is policies[${other}].host already: an alias gives way to a host`;
      context.addIssue({ code: 'custom', path, message });
    }
}

/** Whether a host without templates can be one; a preset is a template. */
export function isHost(text: string): boolean {
  try {
    return text.startsWith('preset:') || hostName(text) !== '';
  } catch {
    return false;
  }
}

function isAddress(text: string): boolean {
  try {
    return parseAddress(text).text === text;
  } catch {
    return false;
  }
}

/** `20000-29999` */
const portRange = z.string().transform((text, context) => {
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(text)?.map(Number) ?? [];
  if (from !== undefined && to !== undefined && from >= 1 && from <= to && to <= 65_535) return { from, to };
  context.addIssue({ code: 'custom', message: `expected a range of ports such as 20000-29999; found ${text}` });
  return z.NEVER;
});

/** Networks by name. */
export const networks = z.record(
  z.string().min(1),
  z.strictObject({
    cidrs: z
      .array(
        z.string().refine((text) => ipaddr.isValidCIDR(text), 'expected a range in CIDR notation, such as 10.1.0.0/16'),
      )
      .optional()
      .meta({ description: 'Addresses that lie in it, unless registry or policy say another network' }),
    gateways: z
      .array(
        z.strictObject({
          address: z.string().refine(isAddress, 'expected an IP address or a DNS name'),
          port: port.optional().meta({ description: 'Where it takes HTTP and gRPC by their host' }),
          ports: portRange
            .optional()
            .meta({ description: 'Ports for published services, one each, such as 20000-29999; of the own network' }),
          selector: z
            .record(z.string().regex(labelKey, 'expected a label name'), z.string())
            .refine((labels) => Object.keys(labels).length > 0, 'expected at least one label')
            .default({ istio: 'ingressgateway' })
            .meta({ description: "Labels of the gateway's pods, in whatever namespace; for `ports`" }),
          bind: z
            .string()
            .refine((text) => ipaddr.isValid(text), 'expected an IP address')
            .optional()
            .meta({ description: "Address that it listens on for `ports`; all of the pod's unless set" }),
          locality: z.string().refine(isLocality, 'expected region/zone/subzone').optional(),
        }),
      )
      .min(1)
      .optional()
      .meta({
        description:
          'Its edge gateways. With them its endpoints count as not to be reached directly, and are replaced by these',
      }),
  }),
);

export type Networks = z.output<typeof networks>;
