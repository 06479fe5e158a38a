/** Metrics of the process, under the names that all of Prometheus' client libraries give them. */
import { readdirSync } from "node:fs";
import { Counter, Gauge, type Registry } from "prom-client";

export function addProcessMetrics(registers: Registry[]): void {
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `process_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge("start_time_seconds", "When the process began, in Unix time.", () => performance.timeOrigin / 1000);
  gauge("resident_memory_bytes", "Memory that the process has in use.", () => process.memoryUsage.rss());
  gauge(
    "open_fds",
    "Open file descriptors: connections, files and devices.",
    () => readdirSync("/proc/self/fd").length,
  );
  new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time of all threads.",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
}
