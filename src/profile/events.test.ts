import { expect, test } from "bun:test";
import { randomFrom } from "../../bench/stats.ts";
import { processName, rowName, span } from "./events.ts";
import { faults } from "./testing.ts";

const DAY = 24 * 3600 * 1e6;

test.each([0.01, 1, 60, 200])(
  "spans that touch or nest do so for every reader, %p days after the machine's start",
  (days) => {
    const row = { pid: 1, tid: 1 };
    const random = randomFrom(1);
    const lines = [processName({ pid: 1, name: "process" }), ...rowName(row, "row").split(",\n")];
    let at = days * DAY;
    const begin = at;
    for (let i = 0; i < 2000; i++) {
      const end = at + 0.1 + 50 * random();
      const middle = at + (end - at) * random();
      lines.push(
        span(row, "outer", at, end),
        span(row, "first", at, middle, {}, 1),
        span(row, "last", middle, end, {}, 1),
      );
      at = end;
    }
    const traceEvents = lines.map((line) => JSON.parse(line));
    expect(faults({ otherData: {}, traceEvents }, begin - 1, at)).toEqual([]);
  },
);
