/** `plain.js SERVICES INSTANCES`: holds instances as plain objects, as JSON.parse makes them, and tells when it has them all. */
const [services = 0, instances = 0] = process.argv.slice(2).map(Number);
const held = new Map<string, unknown>();
for (let service = 0; service < services; service++) {
  const name = `com.acme.bench.Bench${service}`;
  const list = Array.from({ length: instances }, (_, instance) => ({
    id: `10.${service >> 8}.${service & 255}.${instance}:20880`,
    address: `10.${service >> 8}.${service & 255}.${instance}`,
    port: 20880,
    protocol: 'dubbo',
    status: 'healthy',
    weight: 1,
    zone: undefined,
    metadata: {
      application: `app-${service}`,
      dubbo: '2.0.2',
      interface: name,
      methods: 'a,b,c',
      release: '3.3.4',
      side: 'provider',
      timestamp: String(1_795_386_505_240 + instance),
    },
  }));
  held.set(name, JSON.parse(JSON.stringify(list)));
}
globalThis.gc?.();
process.send?.(held.size);
process.on('disconnect', () => process.exit());
