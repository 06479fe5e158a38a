/**
 * What happened to requests, and what the main thread did with the engine's news: the rows of a profile that are not of an
 * engine. Sequences have lanes: rows in which one stands after the other.
 */
import { MAX_PROFILE_EVENTS } from "../limits.ts";
import { clockOffset } from "./clock.ts";
import { flow, GAP, PROCESS, processName, type Row, remark, rowName, sequenceFlow, span } from "./events.ts";

/** Rows: the main thread, then the lanes. */
const MAIN_THREAD = 1;
const FIRST_LANE = 10;
/** Spans and flows of one sequence, at most. */
const EVENTS_OF_SEQUENCE = 8;

/** How a request came to the engine. Times are those of performance.now(). */
export interface Arrival {
  /** The request's id; "" = none. */
  request: string;
  /** When it came in, over HTTP or by a call. */
  arrived: number;
  /** When the library was asked for it, and its prompt had been made. */
  called: number;
  tokenised: number;
  /** When it was handed to the engine. */
  queued: number;
  promptTokens: number;
}

/** News of a sequence: an engine's SequenceEvent. */
export interface News {
  token: number;
  finish: string;
  cachedTokens: number | null;
  start: { queuedSeconds: number; prefillSeconds: number } | null;
  time: number;
}

interface Lane {
  engine: number;
  sequence: number;
  choice: number;
  /** Null where it was running when the profile began. */
  arrival: Arrival | null;
  began: number;
  queuedFrom: number;
  prefillFrom: number | null;
  decodeFrom: number | null;
  ended: number | null;
  finish: string;
  tokens: number;
  cachedTokens: number;
}

interface Delivery {
  start: number;
  end: number;
  sequences: number;
}

export class RequestRecorder {
  private readonly offset = clockOffset() / 1e3;
  private readonly began = performance.now();
  private readonly lanes: Lane[] = [];
  /** Those that have not ended, by their flow. */
  private readonly open = new Map<number, Lane>();
  private readonly deliveries: Delivery[] = [];
  private events = 0;
  private dropped = 0;
  private ended: number | null = null;
  private spent = 0;
  private calls = 0;

  constructor(private readonly limit = MAX_PROFILE_EVENTS) {}

  /** Lines that lines() will give, about. */
  get size(): number {
    return this.events;
  }

  /** A request's choices are with the engine from now on, as these sequences. */
  added(engine: number, sequences: readonly number[], arrival: Arrival): void {
    const now = performance.now();
    for (const [choice, sequence] of sequences.entries()) this.lane(engine, sequence, choice, arrival, now);
    this.calls++;
    this.spent += performance.now() - now;
  }

  private lane(engine: number, sequence: number, choice: number, arrival: Arrival | null, now: number): Lane | null {
    if (this.events + EVENTS_OF_SEQUENCE > this.limit) {
      this.dropped++;
      return null;
    }
    this.events += EVENTS_OF_SEQUENCE;
    const lane: Lane = {
      engine,
      sequence,
      choice,
      arrival,
      began: arrival?.arrived ?? this.began,
      queuedFrom: arrival?.queued ?? now,
      prefillFrom: null,
      decodeFrom: arrival ? null : this.began,
      ended: null,
      finish: "",
      tokens: 0,
      cachedTokens: 0,
    };
    this.lanes.push(lane);
    this.open.set(sequenceFlow(engine, sequence), lane);
    return lane;
  }

  /** What a step brought for a sequence. */
  news(engine: number, sequence: number, choice: number, { token, finish, start, cachedTokens, time }: News): void {
    const now = performance.now();
    const key = sequenceFlow(engine, sequence);
    const lane = this.open.get(key) ?? this.lane(engine, sequence, choice, null, now);
    if (lane) {
      if (start) lane.prefillFrom = Math.max(lane.queuedFrom, time - 1000 * start.prefillSeconds);
      if (lane.arrival && lane.decodeFrom === null && token >= 0) lane.decodeFrom = time;
      if (token >= 0) lane.tokens++;
      lane.cachedTokens = cachedTokens ?? lane.cachedTokens;
      if (finish !== "") {
        lane.ended = time;
        lane.finish = finish;
        this.open.delete(key);
      }
    }
    this.calls++;
    this.spent += performance.now() - now;
  }

  /** The main thread gave out the news of a step for so many sequences, from `start` until now: text and frames were made. */
  delivered(start: number, sequences: number): void {
    if (this.events >= this.limit) return;
    this.events++;
    this.deliveries.push({ start, end: performance.now(), sequences });
  }

  /** Nothing more is recorded. */
  end(): void {
    this.ended ??= performance.now();
  }

  /** The lines of the profile (events.ts). */
  *lines(): Generator<string, void, void> {
    this.end();
    const pid = PROCESS.requests;
    const main: Row = { pid, tid: MAIN_THREAD };
    const at = (time: number) => (time + this.offset) * 1000;
    yield processName({ pid, name: "requests" });
    yield rowName(main, "HTTP thread: news of steps given out");
    yield remark(main, "profile of requests", at(this.began), {
      sequences: this.lanes.length,
      sequences_left_out: this.dropped,
      recording_us: Math.round(1000 * this.spent),
      recording_calls: this.calls,
    });
    for (const { start, end, sequences } of this.deliveries) {
      yield span(main, "deliver", at(start), at(end), { sequences });
    }
    const free: number[] = [];
    for (const lane of this.lanes.sort((a, b) => a.began - b.began)) {
      const end = lane.ended ?? this.ended!;
      let i = free.findIndex((time) => time <= lane.began);
      if (i < 0) i = free.length;
      const row: Row = { pid, tid: FIRST_LANE + i };
      if (i === free.length) yield rowName(row, `sequences, lane ${i}`);
      free[i] = end;
      yield* laneLines(lane, row, end, at);
    }
  }
}

function* laneLines(lane: Lane, row: Row, end: number, at: (time: number) => number): Generator<string> {
  const { arrival, began, engine, sequence } = lane;
  const id = sequenceFlow(engine, sequence);
  const inner = (name: string, from: number, to: number) => span(row, name, at(from), at(to), undefined, 1);
  yield span(row, arrival?.request || `sequence ${sequence}`, at(began), at(end), {
    engine,
    sequence,
    choice: lane.choice,
    prompt_tokens: arrival?.promptTokens ?? null,
    cached_tokens: lane.cachedTokens,
    completion_tokens: lane.tokens,
    finish_reason: lane.finish || null,
    began_before: arrival === null,
  });
  if (arrival) {
    if (arrival.called > began) yield inner("http", began, arrival.called);
    yield inner("tokenise", arrival.called, arrival.tokenised);
    const running = lane.prefillFrom ?? end;
    yield inner("queued", lane.queuedFrom, Math.min(running, end));
    const decoding = Math.min(lane.decodeFrom ?? end, end);
    if (lane.prefillFrom !== null) yield inner("prefill", running, decoding);
  }
  yield flow(row, "s", "request", id, at(arrival ? lane.queuedFrom : began));
  if (lane.decodeFrom !== null && lane.decodeFrom < end) yield inner("decode", lane.decodeFrom, end);
  // Before the gap at the end of the innermost span.
  yield flow(row, "f", "request", id, at(end) - 3 * GAP);
}
