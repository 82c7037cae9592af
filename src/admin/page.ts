import { leftOf } from '#guard/hold.js';
import { publicationsReport } from './publications.js';
import {
  clients,
  doorsReport,
  type Parts,
  registryReports,
  rejectedRecords,
  serviceSummaries,
  stateReport,
} from './report.js';

const maxRows = 500;
const maxChanges = 20;
const maxEndpoints = 3;

/** The status page: everything on one sheet, without a script. @param search text that hosts must contain */
export function statusPage(parts: Parts, search: string): string {
  const registries = registryReports(parts);
  const services = serviceSummaries(parts, search);
  const waiting = parts.awaited();
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
${search === '' ? '<meta http-equiv="refresh" content="5">' : ''}
<title>Pontoon</title>
<style>${style}</style>
<header><h1>Pontoon</h1>
<p class="${waiting.length === 0 ? 'live' : 'failed'}">${waiting.length === 0 ? 'serving' : html(`waiting for ${waiting.join(', ')}`)}</p>${troubles(parts)}</header>
<main>
<h2>Registries</h2>
${table(
  [
    'Name',
    'Type',
    'State',
    'Services',
    'Instances',
    'Held',
    'Left out',
    'Rejected',
    'Notes',
    'Since',
    'Last sign of life',
    'Error',
  ],
  registries.map((r) => [
    link(`/api/v1/registries/${encodeURIComponent(r.registry)}`, r.registry),
    html(r.type),
    `<span class="${r.state}">${r.state}</span>`,
    count(r.services),
    count(r.instances),
    r.held === 0 ? '0' : `<span class="stale">${count(r.held)}</span>`,
    count(r.leftOut),
    r.rejected === 0 ? '0' : link(`/api/v1/registries/${encodeURIComponent(r.registry)}/rejected`, String(r.rejected)),
    r.notes === 0 ? '0' : link(`/api/v1/registries/${encodeURIComponent(r.registry)}/notes`, String(r.notes)),
    ago(r.since),
    ago(r.aliveAt),
    html(r.error ?? ''),
  ]),
)}
${held(parts)}${published(parts)}<h2>Services <small>${services.length} of ${parts.catalog.services.size}</small></h2>
<form><input name="q" value="${html(search)}" placeholder="part of a host" aria-label="part of a host"> <button>Search</button></form>
${table(
  ['Host', 'Ports', 'Endpoints', 'Registries', 'Namespace', 'VIP', 'Istio'],
  services
    .slice(0, maxRows)
    .map((s) => [
      link(`/api/v1/services/${encodeURIComponent(s.host)}`, s.host),
      html(s.ports.map((port) => `${port.number} ${port.name}`).join(', ')),
      count(s.endpoints),
      s.gone ? '<span class="stale">gone</span>' : html(s.registries.join(', ')),
      html(s.namespace),
      html(s.vips.join(', ')),
      link(`/api/v1/istio/serviceentries?host=${encodeURIComponent(s.host)}`, 'ServiceEntry'),
    ]),
)}
${services.length > maxRows ? `<p>${services.length - maxRows} more: search for them.</p>` : ''}
${doors(parts)}<h2>Clients</h2>
${table(
  ['Node', 'Address', 'Identity', 'Shard', 'Istio', 'Type', 'Sent', 'Resources', 'Acknowledged', 'Refused'],
  clients(parts).flatMap((client) =>
    client.subscriptions
      .filter(({ type }) => type !== undefined)
      .map((s) => [
        html(client.node),
        html(client.peer),
        html(client.identity ?? ''),
        String(client.shard),
        html(client.version),
        html(s.typeUrl),
        s.sent === undefined ? 'waiting' : ago(s.sent.at),
        count(s.sent?.count ?? 0),
        s.acknowledged === undefined ? '' : ago(s.acknowledged.at),
        html(s.refused ?? ''),
      ]),
  ),
)}
<h2>Recent changes</h2>
${table(
  ['Time', 'Host', 'What', 'From', 'Cause'],
  parts.journal
    .query({ limit: maxChanges })
    .map(({ at, host, text, endpoints, registry, cause }) => [
      ago(at),
      host === '' ? '' : link(`/api/v1/journal?host=${encodeURIComponent(host)}`, host),
      html([text, ...endpoints.slice(0, maxEndpoints).map((one) => `${one.endpoint} ${one.text}`)].join('; ')),
      html(registry),
      html(cause),
    ]),
)}
<h2>Rejected</h2>
${table(
  ['Registry', 'Record', 'Reason'],
  registries
    .flatMap(({ registry }) => {
      const view = parts.catalog.view(registry);
      return view === undefined
        ? []
        : rejectedRecords(parts, view).map((r) => [html(registry), html(r.record), html(r.reason)]);
    })
    .slice(0, maxRows),
)}
</main>
</html>
`;
}

/** What keeps a restart, or an operator's word to all replicas, from working. */
function troubles(parts: Parts): string {
  const { snapshot, coordination } = stateReport(parts);
  const texts = [
    ...(snapshot?.error === undefined ? [] : [`the snapshot cannot be written: ${snapshot.error}`]),
    ...(coordination.error === undefined ? [] : [`coordination is away: ${coordination.error}`]),
  ];
  return texts.map((text) => `<p class="failed">${html(text)}</p>`).join('');
}

/** The ways into Istio. */
function doors(parts: Parts): string {
  const { listeners, kubernetes, files } = doorsReport(parts);
  const trouble = (text: string): string => (text === '' ? '' : `<span class="failed">${html(text)}</span>`);
  const rows = listeners.map((listener) => [
    link('/api/v1/doors', `xDS ${listener.listen}`),
    `${listener.open.length} of ${listener.shards} shards, ${listener.certificate === undefined ? 'plaintext' : `TLS until ${new Date(listener.certificate.notAfter).toISOString().slice(0, 10)}`}`,
    count(listener.open.reduce((sum, { resources }) => sum + resources, 0)),
    `${count(listener.streams)} streams, ${count(listener.pushes)} responses, ${count(Math.round(listener.bytes / 1024))} kB`,
    trouble(
      [
        ...(listener.certificate?.error === undefined ? [] : [listener.certificate.error]),
        ...Object.entries(listener.refused).map(([reason, times]) => `sent away: ${reason}, ${times} times`),
      ].join('; '),
    ),
  ]);
  if (kubernetes !== undefined)
    rows.push([
      link('/api/v1/doors', 'Kubernetes'),
      html(kubernetes.state),
      count(kubernetes.objects),
      `${count(kubernetes.pending)} pending, ${count(kubernetes.written)} written, ${count(kubernetes.deleted)} deleted`,
      trouble(
        [
          ...(kubernetes.error === undefined ? [] : [kubernetes.error]),
          ...kubernetes.problems
            .slice(0, maxEndpoints)
            .map(({ object, kind, reason }) => `${object} ${kind}: ${reason}`),
          ...(kubernetes.problems.length > maxEndpoints ? [`${kubernetes.problems.length - maxEndpoints} more`] : []),
        ].join('; '),
      ),
    ]);
  if (files !== undefined)
    rows.push([
      link('/api/v1/doors', 'Files'),
      html(files.directory),
      count(files.files),
      `${count(files.pending)} pending, ${count(files.written)} written, ${count(files.removed)} removed`,
      trouble(
        [...files.errors, ...files.conflicts]
          .slice(0, maxEndpoints)
          .map(({ path, reason }) => `${path}: ${reason}`)
          .join('; '),
      ),
    ]);
  return `<h2>Ways into Istio</h2>
${table(['Door', 'State', 'Resources', 'Work', 'Trouble'], rows)}
`;
}

/** What is written into registries, if anything is. */
function published(parts: Parts): string {
  const { owner, targets, publications } = publicationsReport(parts);
  const busy = targets.filter(({ state, instances }) => state !== 'idle' || instances > 0);
  if (busy.length + publications.length === 0) return '';
  const trouble = (text: string): string => (text === '' ? '' : `<span class="failed">${html(text)}</span>`);
  const classes: Readonly<Record<string, string>> = { writing: 'live', failing: 'failed', stopped: 'failed' };
  return `<h2>Publications <small>written into registries as ${html(owner)}</small></h2>
${table(
  ['Registry', 'State', 'Services', 'Instances', 'Pending', 'Refused', 'Conflicts', 'Notes', 'Last write', 'Why'],
  busy.map((target) => [
    link('/api/v1/publications', target.registry),
    `<span class="${classes[target.state] ?? 'stale'}">${target.state}</span>`,
    count(target.services),
    count(target.instances),
    count(target.pending),
    count(target.refused),
    count(target.conflicts),
    count(target.notes),
    ago(target.lastWriteAt ?? 0),
    html(target.reason ?? ''),
  ]),
)}
${table(
  ['Publication', 'Into', 'State', 'Services', 'Instances', 'Trouble'],
  publications.map(({ name, to, state, services, instances, refused, conflicts }) => [
    link(`/api/v1/publications/${encodeURIComponent(name)}/services`, name),
    html(to),
    `<span class="${state === 'active' ? 'live' : 'stale'}">${state}</span>`,
    count(services),
    count(instances),
    trouble(
      [...refused, ...conflicts]
        .slice(0, maxEndpoints)
        .map(({ host, reason }) => `${host}: ${reason}`)
        .join('; '),
    ),
  ]),
)}
`;
}

/** What guards hold, if anything. */
function held(parts: Parts): string {
  const holds = parts.catalog
    .views()
    .flatMap(({ registry, services }) =>
      (parts.catalog.guard(registry)?.holds() ?? []).map((hold) => ({ registry, services, hold })),
    );
  if (holds.length === 0) return '';
  const now = performance.now();
  return `<h2>Held <small>a registry has lost these, and they stay in the mesh</small></h2>
${table(
  ['Registry', 'Service', 'Since', 'Ends', 'Instances', 'Accepted', 'Refused', 'No answer', 'Not asked', 'Dead', 'Why'],
  holds.map(({ registry, services, hold }) => {
    const left = leftOf(hold, now);
    const answers = { accepted: 0, refused: 0, silent: 0, none: 0 };
    for (const { answer = 'none' } of hold.instances) answers[answer]++;
    return [
      link('/api/v1/guards', registry),
      html(services.get(hold.service ?? '')?.key.name ?? ''),
      ago(hold.since),
      left === 0 ? 'when most do not accept, or when it is released' : `in ${Math.ceil(left / 1000)} s`,
      count(hold.instances.size),
      ...Object.values(answers).map(count),
      count(hold.dead),
      html(hold.reason),
    ];
  }),
)}
`;
}

const style = `
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }
body { margin: 0 } header, main { padding: 0 1.5rem }
header { display: flex; gap: 1rem; align-items: baseline; border-bottom: 1px solid #8884 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8883; overflow-wrap: break-word }
th { white-space: nowrap; overflow-wrap: normal } td.number { text-align: right }
small { font-weight: normal; opacity: .7 } .live { color: #2a8a3e } .stale, .connecting, .syncing { color: #b26a00 } .failed { color: #c62828 }
`;

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '<p>none</p>';
  const row = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  return `<table><thead>${row('th', heads)}</thead><tbody>${rows.map((cells) => row('td', cells)).join('\n')}</tbody></table>`;
}

function html(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

function link(href: string, text: string): string {
  return `<a href="${html(href)}">${html(text)}</a>`;
}

function count(value: number): string {
  return value.toLocaleString('en');
}

function ago(at: number): string {
  if (at === 0) return 'never';
  const passed = Math.max(0, Math.round((Date.now() - at) / 1000));
  if (passed < 120) return `${passed} s ago`;
  return passed < 7200 ? `${Math.round(passed / 60)} min ago` : `${Math.round(passed / 3600)} h ago`;
}
