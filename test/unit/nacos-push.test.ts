import { createSocket } from 'node:dgram';
import { on } from 'node:events';
import { expect } from 'chai';
import { pino } from 'pino';
import type { PushAddress, ServiceName } from '#adapters/nacos/api.js';
import { Pushes } from '#adapters/nacos/push.js';
import { until } from '#test/servers/probes.js';

describe('Nacos pushes (fake server: datagrams that no server sends)', () => {
  const orders: ServiceName = { namespace: 'public', group: 'DEFAULT_GROUP', name: 'orders' };
  const sender = createSocket('udp4');
  const asked: PushAddress[] = [];
  let changed: ServiceName[] = [];
  const pushes = new Pushes({
    ask: async (_service, pushTo) => asked.push(pushTo),
    changed: (service) => changed.push(service),
    log: pino({ level: 'silent' }),
  });

  const port = () => Number(asked[0]?.udpPort);
  let pushed = 0;

  /** Sends a push, and waits until it is confirmed: all that was sent before it has then been dealt with. */
  async function send(data: unknown): Promise<void> {
    const lastRefTime = ++pushed;
    sender.send(JSON.stringify({ type: 'dom', data: JSON.stringify(data), lastRefTime }), port(), '127.0.0.1');
    for await (const [answer] of on(sender, 'message', { signal: AbortSignal.timeout(20_000) })) {
      const { type, lastRefTime: confirmed } = JSON.parse(String(answer));
      if (type === 'push-ack' && confirmed === lastRefTime) return;
    }
  }
  const push = (name: string) => ({ name: `DEFAULT_GROUP@@${name}`, clusters: '', hosts: [] });

  before(async () => {
    await pushes.subscribe(orders);
    await until('a subscription', () => asked.length > 0);
  });
  beforeEach(() => {
    changed = [];
  });
  after(async () => {
    await pushes.close();
    sender.close();
  });

  it('tells of a push without instances, and confirms it', async () => {
    await send(push('orders'));
    expect(changed).to.deep.equal([orders]);
  });

  it('does not mind datagrams that are no pushes, or of services that nobody subscribed to', async () => {
    const packets = [
      '',
      'junk',
      'null',
      '[]',
      '{}',
      '{"type":"dom"}',
      '{"type":"dom","data":"[1]"}',
      '{"type":"dump"}',
    ];
    for (const packet of [...packets, Buffer.from([0x1f, 0x8b, 8, 0, 1])]) sender.send(packet, port(), '127.0.0.1');
    await send(push('carts'));
    await send({ ...push('orders'), name: 5 });
    expect(changed).to.deep.equal([]);
    await send(push('orders'));
    expect(changed).to.deep.equal([orders]);
  });

  it('tells nothing of what is no longer subscribed', async () => {
    pushes.unsubscribe(orders);
    await send(push('orders'));
    expect(changed).to.deep.equal([]);
  });
});
