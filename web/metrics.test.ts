import { expect, test } from "bun:test";
import { mean, parseMetrics, quantile, rate, samplesOf, sum } from "./metrics.ts";

const read = (text: string, time: number) => parseMetrics(text, time);

test("Prometheus' text: labels with anything in them, infinity, and lines that are none", () => {
  const text = [
    "# HELP vllm:a Things.",
    'vllm:a{model_name="x \\"y\\" {z}, \\\\",engine="0"} 5',
    "vllm:b 1e3",
    'vllm:c_bucket{le="+Inf"} 2 1700000000',
    "garbage",
    'vllm:d{a="1"} NaN',
    "",
  ].join("\n");
  const reading = read(text, 0);
  expect(samplesOf(reading, "a")).toMatchObject([{ labels: { model_name: 'x "y" {z}, \\', engine: "0" }, value: 5 }]);
  expect(sum(reading, "b")).toBe(1000);
  expect(samplesOf(reading, "c_bucket")[0]!.labels.le).toBe("+Inf");
  expect(sum(reading, "d")).toBeNaN();
  expect(sum(reading, "nothing")).toBeNull();
});

test("engines add up; a gauge's mean is theirs; a rate is a counter's growth in a second", () => {
  const engines = (a: number, b: number) => `vllm:n{engine="0"} ${a}\nvllm:n{engine="1"} ${b}\n`;
  const [before, now] = [read(engines(1, 2), 10), read(engines(5, 6), 12)];
  expect(sum(now, "n")).toBe(11);
  expect(mean(now, "n")).toBe(5.5);
  expect(rate(before, now, "n")).toBe(4);
  expect(rate(null, now, "n")).toBeNull();
  expect(rate(before, now, "m")).toBeNull();
  // The server was started anew meanwhile.
  expect(rate(read(engines(100, 100), 10), now, "n")).toBeNull();
});

test("quantiles are of what was counted between two readings, linear within a bucket", () => {
  const histogram = (...counts: [string, number][]) =>
    counts.map(([le, count]) => `vllm:t_bucket{le="${le}"} ${count}`).join("\n");
  const before = read(histogram(["1", 10], ["2", 10], ["4", 10], ["+Inf", 10]), 0);
  const now = read(histogram(["1", 10], ["2", 14], ["4", 18], ["+Inf", 20]), 1);
  expect(quantile(before, now, "t", 0.4)).toBe(2);
  expect(quantile(before, now, "t", 0.5)).toBe(2.5);
  expect(quantile(before, now, "t", 0.2)).toBe(1.5);
  // Above the last bound nothing is known but that.
  expect(quantile(before, now, "t", 0.99)).toBe(4);
  expect(quantile(null, before, "t", 0.5)).toBe(0.5);
  expect(quantile(now, now, "t", 0.5)).toBeNull();
});
