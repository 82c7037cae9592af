import type { Answer, Endpoint, Prober } from '#probe/prober.js';
import type { Guard } from './guard.js';
import type { Held } from './hold.js';

/** Where an instance is dialled, and in which network. */
export interface Dialled {
  /** All ports of the instance. */
  readonly endpoints: readonly Endpoint[];
  readonly network: string;
}

/** What an inquiry has to know of the mesh. */
export interface InquiryScope {
  /** How the mesh dials an instance that is, or was, in it. */
  dialled(registry: string, held: Held): Dialled;
  /** Some endpoints of a registry in a network that nobody holds. */
  witnesses(registry: string, network: string): readonly Endpoint[];
}

/** What is reached in the same way: without a word about networks, only what one registry holds. */
function areaOf(registry: string, network: string): string {
  return `${registry} ${network}`;
}

/** What instances said, since the start. */
export type AnswerCounts = Readonly<Record<Answer, number>>;

/** ms between two questions to one instance: one that refuses, and any other. */
export interface Pauses {
  readonly soon: number;
  readonly later: number;
}

const usual: Pauses = { soon: 2_000, later: 10_000 };
/** So many refusals in a row are a verdict. */
const wanted = 3;
/** Questions that are begun at a time, and ms until the next ones: at most 200 a second. */
const batch = 20;
const beat = 100;
/** Questions that wait for an answer at a time. */
const most = 64;
/** ms for which a network counts as reachable after something there accepted, or as not reachable after nothing did. */
const memory = 30_000;
const shortMemory = 5_000;

interface Question {
  readonly guard: Guard;
  readonly registry: string;
  readonly held: Held;
  refusals: number;
  /** Monotonic ms. */
  at: number;
}

/**
 * Asks held instances themselves, by TCP, in rounds: one that refuses is asked three times, 2 s apart, any other again after 10 s. Refusing is a verdict only
 * while something else of its registry in its network accepts: else a firewall may be speaking.
 */
export class Inquiry {
  readonly #prober: Prober;
  readonly #scope: InquiryScope;
  readonly #pauses: Pauses;
  /** Those that refused, those that were not asked yet, the others: each in the order of their times. */
  readonly #queues: readonly [Question[], Question[], Question[]] = [[], [], []];
  /** Network → when something in it accepted last; and when everything that was asked did not. */
  readonly #accepted = new Map<string, number>();
  readonly #silent = new Map<string, number>();
  readonly #counts: Record<Answer, number> = { accepted: 0, refused: 0, silent: 0 };
  #timer: NodeJS.Timeout | undefined;
  #asking = 0;
  #isClosed = false;

  constructor(prober: Prober, scope: InquiryScope, pauses = usual) {
    this.#pauses = pauses;
    this.#prober = prober;
    this.#scope = scope;
  }

  get counts(): AnswerCounts {
    return this.#counts;
  }

  ask(guard: Guard, registry: string, held: readonly Held[]): void {
    for (const one of held) this.#queues[1].push({ guard, registry, held: one, refusals: 0, at: 0 });
    this.#wind(0);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const queue of this.#queues) queue.length = 0;
    this.#prober.close();
  }

  #wind(pause: number): void {
    if (!this.#isClosed) this.#timer ??= setTimeout(() => this.#beat(), pause).unref();
  }

  #beat(): void {
    this.#timer = undefined;
    const now = performance.now();
    let begun = 0;
    for (const queue of this.#queues)
      while (begun < batch && this.#asking < most && (queue[0]?.at ?? Number.POSITIVE_INFINITY) <= now) {
        begun++;
        void this.#question(queue.shift() as Question);
      }
    if (this.#queues.some((queue) => queue.length > 0)) this.#wind(beat);
  }

  async #question(question: Question): Promise<void> {
    const { guard, registry, held } = question;
    if (!guard.isWanted(held)) return;
    this.#asking++;
    const { endpoints, network } = this.#scope.dialled(registry, held);
    const answer = await this.#answer(endpoints);
    const isDead =
      answer === 'refused' && question.refusals + 1 >= wanted && (await this.#isReachable(registry, network, held));
    this.#asking--;
    this.#counts[answer]++;
    if (answer === 'accepted') this.#accepted.set(areaOf(registry, network), performance.now());
    question.refusals = answer === 'refused' ? question.refusals + 1 : 0;
    guard.answered(held, answer, isDead);
    if (this.#isClosed || !guard.isWanted(held)) return;
    const isSoon = answer === 'refused' && question.refusals < wanted;
    question.at = performance.now() + (isSoon ? this.#pauses.soon : this.#pauses.later);
    this.#queues[isSoon ? 0 : 2].push(question);
    this.#wind(beat);
  }

  /** It lives if any of its ports accepts, and is dead only if all refuse. */
  async #answer(endpoints: readonly Endpoint[]): Promise<Answer> {
    let answer: Answer = endpoints.length === 0 ? 'silent' : 'refused';
    for (const endpoint of endpoints) {
      const one = await this.#prober.ask(endpoint);
      if (one === 'accepted') return one;
      if (one === 'silent') answer = one;
    }
    return answer;
  }

  async #isReachable(registry: string, network: string, { instance }: Held): Promise<boolean> {
    const area = areaOf(registry, network);
    const isWithin = (times: ReadonlyMap<string, number>, length: number): boolean =>
      performance.now() - (times.get(area) ?? Number.NEGATIVE_INFINITY) < length;
    if (isWithin(this.#accepted, memory)) return true;
    if (isWithin(this.#silent, shortMemory)) return false;
    for (const witness of this.#scope.witnesses(registry, network)) {
      const isItself =
        witness.address === instance.address && instance.ports.some(({ number }) => number === witness.port);
      if (isItself || (await this.#prober.ask(witness)) !== 'accepted') continue;
      this.#accepted.set(area, performance.now());
      return true;
    }
    this.#silent.set(area, performance.now());
    return false;
  }
}
