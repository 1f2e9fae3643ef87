// Latency of networks, each timed in turns with fixed reference networks.
//
// A browser's clock is coarse on purpose: 5 us where the page is isolated, 100 us or more elsewhere.
// So a time is the mean of a `group` of runs back to back, long enough for one tick to be 2 % of it.

const WARM_UP = 10, MIN_RUNS = 50, TURNS = 50;
const TICKS = 50, LONGEST_MS = 250;
const PIECE = { settle: 1, burst: 4 }, NETWORK = { settle: 20, burst: 20 }, PACE = { settle: 5, burst: 10 };
const ROUNDS = 4, PACE_EVERY = 4, SLOWED = 1.15;

/** The smallest step of the clock, in ms. */
export function tick(clock) {
  let least = Infinity;
  for (let seen = 0; seen < 20; seen++) {
    const start = clock();
    let now = start;
    while (now === start) now = clock();
    least = Math.min(least, now - start);
  }
  return least;
}

/** The value below which this part of the times lies, by linear interpolation. */
export function quantile(times, part) {
  const ordered = Float64Array.from(times).sort(), place = part * (ordered.length - 1);
  const below = Math.floor(place), above = Math.min(below + 1, ordered.length - 1);
  return ordered[below] + (place - below) * (ordered[above] - ordered[below]);
}

export const median = (times) => quantile(times, 0.5);

/** A loaded network with an image to run it on: numbers as images have them. */
export class Network {
  constructor(session, item, clock) {
    const [input] = session.inputMetadata;
    const shape = input.shape.map((side) => (typeof side === "number" && side > 0 ? side : 1));
    const numbers = new Float32Array(shape.reduce((all, side) => all * side, 1));
    for (let at = 0, seed = 1; at < numbers.length; at++) {
      seed = (1103515245 * seed + 12345) % 2147483648;
      numbers[at] = seed / 2147483648;
    }
    this.feeds = { [input.name]: session.newTensor(numbers, shape) };
    this.session = session;
    this.item = item;
    this.clock = clock;
    this.turns = [];
  }

  async run() {
    await this.session.run(this.feeds);
  }

  async timed(count) {
    const start = this.clock();
    for (let run = 0; run < count; run++) await this.run();
    return (this.clock() - start) / count;
  }

  /** The first run alone, then others until they are the usual. */
  async warmUp(tickMs, span) {
    this.first_ms = Math.max(await this.timed(1), tickMs);
    const rough = Math.max(await this.timed(WARM_UP), tickMs / WARM_UP);
    this.settle = Math.ceil(span.settle / rough);
    this.group = Math.ceil(Math.min(TICKS * tickMs, LONGEST_MS) / rough);
    this.burst = Math.max(1, Math.ceil(span.burst / (this.group * rough)));
  }

  /** A burst of times, after untimed runs that bring its weights back into the caches. */
  async turn() {
    for (let run = 0; run < this.settle; run++) await this.run();
    const times = [];
    for (let at = 0; at < this.burst; at++) times.push(await this.timed(this.group));
    this.turns.push(times);
    return median(times);
  }

  async release() {
    await this.session.release();
  }
}

/** Of the references together: what each turn took, in ms. */
class Pace {
  constructor(references) {
    this.references = references;
    this.sums_ms = [];
  }

  async turn() {
    let sum = 0;
    for (const one of this.references) sum += await one.turn();
    this.sums_ms.push(sum);
    return sum;
  }

  /** How many times as long as at first they take in the end. */
  drift() {
    const some = Math.max(1, Math.floor(this.sums_ms.length / 4));
    return median(this.sums_ms.slice(-some)) / median(this.sums_ms.slice(0, some));
  }
}

/** Every network for `seconds` and 50 runs at least, in about 50 turns, so that slow and fast ones end
    together; `pause` lets the page draw, and throws to end it. */
export async function measure(networks, references, { seconds, tickMs, pause, told }) {
  for (const one of references) await one.warmUp(tickMs, PACE);
  for (const one of networks) {
    await pause();
    await one.warmUp(tickMs, { settle: NETWORK.settle, burst: (1000 * seconds) / TURNS });
    one.timedMs = 0;
  }
  const pace = new Pace(references);
  const enough = (one) =>
    one.timedMs >= 1000 * seconds && one.turns.length * one.burst * one.group >= MIN_RUNS;
  while (!networks.every(enough)) {
    await pause();
    await pace.turn();
    for (const one of networks) {
      await pause();
      await one.turn();
      one.timedMs += one.group * one.turns.at(-1).reduce((sum, time) => sum + time, 0);
    }
    told(Math.min(...networks.map((one) => one.timedMs / (1000 * seconds))));
  }
  return networks.map((one) => ({
    item: one.item, times_ms: one.turns.flat(), burst: one.burst, group: one.group,
    first_ms: one.first_ms, reference_ms: median(pace.sums_ms), drift: pace.drift(),
  }));
}

/** Some items of a latency table: each in several bursts far apart, as a multiple of the references
    before and after it. Those beside references at their best count, where there are some. */
export async function measureItems(items, references, { tickMs, pause }) {
  const start = performance.now();
  for (const one of references) await one.warmUp(tickMs, PIECE);
  for (const one of items) {
    await pause();
    await one.warmUp(tickMs, one.isNetwork ? NETWORK : PIECE);
    one.bursts = [];
  }
  const pace = new Pace(references);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [at, one] of items.entries()) {
      if (at % PACE_EVERY === 0) await pace.turn();
      await pause();
      one.bursts.push({ ms: await one.turn(), at: pace.sums_ms.length - 1 });
    }
  }
  await pace.turn();
  const best = Math.min(...pace.sums_ms);
  const beside = ({ at }) => [pace.sums_ms[at], pace.sums_ms[at + 1]];
  const disturbed = (burst) => Math.max(...beside(burst)) > SLOWED * best;
  const multiple = (burst) => burst.ms / (beside(burst)[0] / 2 + beside(burst)[1] / 2);
  const seconds = (performance.now() - start) / 1000 / items.length;
  return items.map((one) => {
    const quiet = one.bursts.filter((burst) => !disturbed(burst));
    const counted = quiet.length ? quiet : one.bursts;
    return {
      item: one.item, ms: best * median(counted.map(multiple)), reference_ms: best,
      noisy: !quiet.length, seconds,
    };
  });
}
