/**
 * Hosts as other bridges make them, so that who moves over keeps the names that callers use. Each is a template: see the reference of the configuration.
 */
export const hostPresets: Readonly<Record<string, { readonly template: string; readonly of: string }>> = {
  higress: {
    template: '{{ service.name }}.{{ service.group }}.{{ service.namespace }}.nacos',
    of: "Higress, and Nacos's own Istio module: Nacos services",
  },
  'consul-dns': { template: '{{ service.name }}.service.consul', of: "Consul's DNS, and consul2istio" },
  'eureka-dns': { template: '{{ service.name }}.eureka', of: "slime's meshregistry: Eureka applications" },
  interface: {
    template: '{{ service.name }}',
    of: "dubbo2istio and slime's meshregistry: Dubbo interfaces, without group and version",
  },
  name: { template: '{{ service.name }}', of: 'the bare name of the service' },
};

const prefix = 'preset:';

/** The template that a text names by `preset:`, or the text itself. @throws Error that lists the presets, if it names none of them */
export function templateOf(text: string): string {
  if (!text.startsWith(prefix)) return text;
  const found = hostPresets[text.slice(prefix.length)];
  if (found === undefined) throw new Error(`no such preset; there are ${Object.keys(hostPresets).join(', ')}`);
  return found.template;
}
