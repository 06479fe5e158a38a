import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { Registry } from "prom-client";
import { addProcessMetrics } from "./process-metrics.ts";

test("the process tells when it began, and what it uses now", async () => {
  const registry = new Registry();
  addProcessMetrics([registry]);
  const read = async () => {
    const all = await registry.getMetricsAsJSON();
    return Object.fromEntries(
      all.map(({ name, values }) => [name.replace("process_", ""), values[0]!.value as number]),
    );
  };
  const before = await read();
  expect(Math.abs(before.start_time_seconds! - (Date.now() / 1000 - process.uptime()))).toBeLessThan(60);
  expect(before.resident_memory_bytes).toBeGreaterThan(2 ** 20);
  const files = Array.from({ length: 40 }, () => openSync("/dev/null", "r"));
  const used = process.cpuUsage();
  // A tenth of a second of work.
  while (process.cpuUsage(used).user + process.cpuUsage(used).system < 100_000);
  const after = await read();
  for (const file of files) closeSync(file);
  expect(after.start_time_seconds).toBe(before.start_time_seconds!);
  expect(after.open_fds! - before.open_fds!).toBeGreaterThan(20);
  const seconds = after.cpu_seconds_total! - before.cpu_seconds_total!;
  expect(seconds).toBeGreaterThan(0.099);
  // Not those of both readings.
  const { user, system } = process.cpuUsage();
  expect(after.cpu_seconds_total).toBeLessThanOrEqual((user + system) / 1e6);
});
