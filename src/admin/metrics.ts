import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { publicationsReport } from './publications.js';
import { clients, doorsReport, type Parts, registryReports, stateReport } from './report.js';

const sourceStates = ['connecting', 'syncing', 'live', 'stale', 'failed'] as const;
const clientLabels = ['client', 'type'] as const;
const seconds = (ms: number): number => ms / 1000;

/** Prometheus metrics: latencies are observed as they happen, all else is read off the running parts when it is asked for. */
export class Metrics {
  readonly #parts: Parts;
  readonly #registry = new Registry();
  readonly #sourceGauges: Gauge[] = [];
  readonly #bySource = (name: string, help: string): Gauge => {
    const gauge = this.#gauge(`source_${name}`, help, ['registry', 'type']);
    this.#sourceGauges.push(gauge);
    return gauge;
  };
  readonly #state = this.#gauge('source_state', '1 for the state that the source is in, 0 for the others', [
    'registry',
    'type',
    'state',
  ]);
  readonly #services = this.#bySource('services', 'Services that the registry holds');
  readonly #instances = this.#bySource('instances', 'Instances that the registry holds');
  readonly #rejected = this.#bySource('rejected_records', 'Records of the registry that could not be used');
  readonly #leftOut = this.#bySource('left_out_instances', 'Instances that are known and get no traffic');
  readonly #dropped = this.#bySource('dropped_services', 'Services that the configuration leaves out');
  readonly #held = this.#bySource('held_instances', 'Instances that guards keep in the mesh');
  readonly #holds = this.#counter('source_holds_total', 'Holds that began', ['registry', 'type', 'scope']);
  readonly #probes = this.#counter('probes_total', 'Instances that were asked whether they live', ['answer']);
  readonly #notes = this.#bySource('notes', 'Notes on records in use and on rules');
  readonly #alive = this.#bySource('last_success_timestamp_seconds', 'When the registry last gave a sign of life');
  readonly #errors = this.#counter('source_errors_total', 'Errors of the source', ['registry', 'type']);
  readonly #meshServices = this.#gauge('mesh_services', 'Mesh services, gone ones in their grace included');
  readonly #meshEndpoints = this.#gauge('mesh_endpoints', 'Endpoints of all mesh services');
  readonly #quarantined = this.#gauge('mesh_quarantined', 'Entries and endpoints that Istio would refuse');
  readonly #snapshotAt = this.#gauge('snapshot_timestamp_seconds', 'When what is on disk was saved; 0 for never');
  readonly #snapshotBytes = this.#gauge('snapshot_bytes', 'Size of the snapshot on disk');
  readonly #snapshotFails = this.#gauge('snapshot_failing', '1 if the snapshot could not be written the last time');
  readonly #coordinationFails = this.#gauge(
    'coordination_failing',
    '1 while the store of coordination does not answer',
  );
  readonly #clients = this.#gauge('xds_clients', 'Connected xDS clients');
  readonly #bytes = this.#counter('xds_sent_bytes_total', 'Bytes of all responses of a listener', ['listener']);
  readonly #refused = this.#counter('xds_refused_clients_total', 'Clients that a listener sent away', [
    'listener',
    'reason',
  ]);
  readonly #certificateEnd = this.#gauge(
    'xds_certificate_expiry_timestamp_seconds',
    "When the listener's certificate ends",
    ['listener'],
  );
  readonly #objects = this.#gauge('kubernetes_objects', 'Objects of ours in the cluster');
  readonly #objectsPending = this.#gauge(
    'kubernetes_pending',
    'Services whose objects are still to be compared or written',
  );
  readonly #objectProblems = this.#gauge('kubernetes_problems', 'Objects that are not as they should be', ['kind']);
  readonly #objectWrites = this.#counter('kubernetes_writes_total', 'Objects written and deleted', ['what']);
  readonly #files = this.#gauge('files', "Files of ours in the files sink's directory");
  readonly #fileProblems = this.#gauge('files_problems', 'Files that could not be written, or are of others', ['kind']);
  readonly #targetState = this.#gauge('target_state', '1 for the state that writing into the registry is in', [
    'registry',
    'state',
  ]);
  readonly #targetEntries = this.#gauge('target_entries', 'Instances of this owner that stand in the registry', [
    'registry',
    'publication',
  ]);
  readonly #targetPending = this.#gauge('target_pending', 'Services that are still to be compared or written', [
    'registry',
  ]);
  readonly #targetNotes = this.#gauge(
    'target_notes',
    'Instances that the registry took with something left out, such as metadata',
    ['registry'],
  );
  readonly #targetRefused = this.#gauge('target_refused', 'Instances that the registry did not take', ['registry']);
  readonly #targetConflicts = this.#gauge(
    'target_conflicts',
    'Instances at whose place something stands that this owner did not write',
    ['registry'],
  );
  readonly #targetWrites = this.#counter('target_writes_total', 'Writes of a service, by result', [
    'registry',
    'result',
  ]);
  readonly #targetRenewals = this.#counter('target_renewals_total', 'Renewals of the leases of a service, by result', [
    'registry',
    'result',
  ]);
  readonly #targetRequests = this.#counter('target_requests_total', 'Requests that write, without renewals', [
    'registry',
  ]);
  readonly #publicationRefused = this.#gauge('publication_refused', 'Services that cannot be published, by why', [
    'publication',
    'why',
  ]);
  readonly #responses = this.#counter(
    'xds_responses_total',
    'Responses per connected client and type: sent, acknowledged, refused',
    [...clientLabels, 'outcome'],
  );
  readonly #sentAt = this.#gauge(
    'xds_sent_timestamp_seconds',
    'When the client was last sent a set of this type',
    clientLabels,
  );
  readonly #acknowledgedAt = this.#gauge(
    'xds_acknowledged_timestamp_seconds',
    'When the client last acknowledged a set of this type',
    clientLabels,
  );

  constructor(parts: Parts) {
    this.#parts = parts;
    collectDefaultMetrics({ register: this.#registry });
    const toCatalog = this.#latency('event_to_catalog_seconds', "From the registry's event to the mesh services");
    const toSent = this.#latency('event_to_sent_seconds', "From the registry's event to the xDS clients' streams");
    parts.catalog.on('change', ({ registry, cause }) => {
      if (registry !== '') toCatalog.observe({ registry }, seconds(performance.now() - cause.observedAt));
    });
    const toWritten = this.#latency('event_to_written_seconds', "From a registry's event to the registry written to");
    parts.publishing.on('written', ({ registry, took }) => {
      if (took !== undefined) toWritten.observe({ registry }, seconds(took));
    });
    for (const listener of parts.listeners)
      listener.on('sent', ({ registry, observedAt, sentAt }) => {
        if (registry !== '') toSent.observe({ registry }, seconds(sentAt - observedAt));
      });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything in Prometheus's text format. */
  async text(): Promise<string> {
    this.#readSources();
    this.#readProbes();
    this.#readState();
    this.#readMesh();
    this.#readClients();
    this.#readDoors();
    this.#readTargets();
    return this.#registry.metrics();
  }

  #readSources(): void {
    // A registry may have gone with the last configuration.
    for (const metric of [this.#state, ...this.#sourceGauges, this.#errors, this.#holds]) metric.reset();
    for (const report of registryReports(this.#parts)) {
      const labels = { registry: report.registry, type: report.type };
      for (const state of sourceStates) this.#state.set({ ...labels, state }, report.state === state ? 1 : 0);
      this.#services.set(labels, report.services);
      this.#instances.set(labels, report.instances);
      this.#rejected.set(labels, report.rejected);
      this.#leftOut.set(labels, report.leftOut);
      this.#held.set(labels, report.held);
      for (const scope of ['registry', 'service'] as const)
        this.#holds.inc({ ...labels, scope }, this.#parts.guarding.begun(report.registry, scope));
      this.#dropped.set(labels, report.dropped);
      this.#notes.set(labels, report.notes);
      this.#alive.set(labels, seconds(report.aliveAt));
      this.#errors.inc(labels, report.errors);
    }
  }

  #readState(): void {
    const { snapshot, coordination } = stateReport(this.#parts);
    this.#snapshotAt.set(seconds(snapshot?.at ?? 0));
    this.#snapshotBytes.set(snapshot?.bytes ?? 0);
    this.#snapshotFails.set(snapshot?.error === undefined ? 0 : 1);
    this.#coordinationFails.set(coordination.error === undefined ? 0 : 1);
  }

  #readProbes(): void {
    this.#probes.reset();
    for (const [answer, count] of Object.entries(this.#parts.guarding.answers)) this.#probes.inc({ answer }, count);
  }

  #readMesh(): void {
    const { catalog, projection } = this.#parts;
    this.#meshServices.set(catalog.services.size);
    this.#meshEndpoints.set([...catalog.services.values()].reduce((sum, service) => sum + service.endpoints.length, 0));
    this.#quarantined.set([...projection.rejected().values()].reduce((sum, rejections) => sum + rejections.length, 0));
  }

  #readClients(): void {
    const connected = clients(this.#parts);
    this.#clients.set(connected.length);
    for (const metric of [this.#responses, this.#sentAt, this.#acknowledgedAt]) metric.reset();
    for (const { node, subscriptions } of connected)
      for (const { type, typeUrl, counts, sent, acknowledged } of subscriptions) {
        if (type === undefined) continue;
        const labels = { client: node, type: typeUrl };
        for (const [outcome, count] of Object.entries(counts)) this.#responses.inc({ ...labels, outcome }, count);
        if (sent !== undefined) this.#sentAt.set(labels, seconds(sent.at));
        if (acknowledged !== undefined) this.#acknowledgedAt.set(labels, seconds(acknowledged.at));
      }
  }

  #readTargets(): void {
    for (const metric of [this.#targetState, this.#targetEntries, this.#targetWrites, this.#targetRenewals])
      metric.reset();
    for (const metric of [
      this.#targetPending,
      this.#targetRefused,
      this.#targetNotes,
      this.#targetConflicts,
      this.#targetRequests,
    ])
      metric.reset();
    this.#publicationRefused.reset();
    const { targets, publications } = publicationsReport(this.#parts);
    for (const target of targets) {
      const { registry, state, written, failed, renewed, renewalsFailed } = target;
      if (state === 'idle') continue;
      this.#targetState.set({ registry, state }, 1);
      for (const [publication, count] of Object.entries(target.placed))
        this.#targetEntries.set({ registry, publication }, count);
      this.#targetPending.set({ registry }, target.pending);
      this.#targetRefused.set({ registry }, target.refused);
      this.#targetNotes.set({ registry }, target.notes);
      this.#targetConflicts.set({ registry }, target.conflicts);
      this.#targetWrites.inc({ registry, result: 'ok' }, written);
      this.#targetWrites.inc({ registry, result: 'failed' }, failed);
      this.#targetRenewals.inc({ registry, result: 'ok' }, renewed);
      this.#targetRenewals.inc({ registry, result: 'failed' }, renewalsFailed);
      this.#targetRequests.inc({ registry }, target.requests);
    }
    for (const { name: publication, refused, conflicts } of publications) {
      this.#publicationRefused.set({ publication, why: 'refused' }, refused.length);
      this.#publicationRefused.set({ publication, why: 'conflict' }, conflicts.length);
    }
  }

  #readDoors(): void {
    const { listeners, kubernetes, files } = doorsReport(this.#parts);
    for (const metric of [this.#bytes, this.#refused, this.#objectWrites, this.#objectProblems]) metric.reset();
    for (const { listen: listener, bytes, refused, certificate } of listeners) {
      this.#bytes.inc({ listener }, bytes);
      for (const [reason, count] of Object.entries(refused)) this.#refused.inc({ listener, reason }, count);
      if (certificate !== undefined) this.#certificateEnd.set({ listener }, seconds(certificate.notAfter));
    }
    if (kubernetes !== undefined) {
      this.#objects.set(kubernetes.objects);
      this.#objectsPending.set(kubernetes.pending);
      this.#objectWrites.inc({ what: 'written' }, kubernetes.written);
      this.#objectWrites.inc({ what: 'deleted' }, kubernetes.deleted);
      for (const { kind } of kubernetes.problems) this.#objectProblems.inc({ kind });
    }
    if (files !== undefined) {
      this.#files.set(files.files);
      this.#fileProblems.set({ kind: 'error' }, files.errorCount);
      this.#fileProblems.set({ kind: 'conflict' }, files.conflictCount);
    }
  }

  #gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return new Gauge({ name: `pontoon_${name}`, help, labelNames, registers: [this.#registry] });
  }

  #counter(name: string, help: string, labelNames: readonly string[]): Counter {
    return new Counter({ name: `pontoon_${name}`, help, labelNames, registers: [this.#registry] });
  }

  #latency(name: string, help: string): Histogram {
    const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
    return new Histogram({
      name: `pontoon_${name}`,
      help,
      labelNames: ['registry'],
      buckets,
      registers: [this.#registry],
    });
  }
}
