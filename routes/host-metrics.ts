/** What /metrics tells of KV pages: how many there are on each medium, and those that went to the host and came back. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { FastgenApi, Stats } from "../src/types.ts";

type Host = Stats["host"];

/** By name: what it says, and its value. `pageBytes` is a page's size on all devices. */
const TOTALS: Record<string, [help: string, read: (host: Host, pageBytes: number) => number]> = {
  hits: ["Pages of prompts that were found on the host.", ({ hits }) => hits],
  misses: ["Pages of prompts that were neither on the device nor on the host.", ({ misses }) => misses],
  forgotten: ["Pages that can no longer be found, because others needed their room.", ({ forgotten }) => forgotten],
  read_bytes: ["Bytes of pages copied from the host to the device.", ({ restored }, pageBytes) => restored * pageBytes],
  written_bytes: ["Bytes of pages copied from the device to the host.", ({ saved }, pageBytes) => saved * pageBytes],
  read_seconds: ["Time in which pages were copied from the host to the device.", ({ read_seconds }) => read_seconds],
  write_seconds: ["Time in which pages were copied from the device to the host.", ({ write_seconds }) => write_seconds],
};

export function addHostMetrics(registers: Registry[], source: () => FastgenApi | null): void {
  const all = () => (source()?.engines ?? []).map(({ stats }) => stats).entries();
  const gauge = (name: string, help: string, read: (stats: Stats) => { device: number; host: number; disk: number }) =>
    new Gauge({
      name: `vllm:${name}`,
      help,
      labelNames: ["medium", "engine"],
      registers,
      collect() {
        for (const [i, stats] of all()) {
          for (const [medium, pages] of Object.entries(read(stats))) this.set({ medium, engine: `${i}` }, pages);
        }
      },
    });
  gauge("kv_pages", "KV pages that hold something.", ({ pages_held, host, disk_pages }) => ({
    device: pages_held,
    host: host.pages_held,
    disk: disk_pages,
  }));
  gauge("kv_pages_capacity", "KV pages that there is room for.", ({ pages, host, disk_capacity }) => ({
    device: pages,
    host: host.pages,
    disk: disk_capacity,
  }));
  for (const [name, [help, read]] of Object.entries(TOTALS)) {
    new Counter({
      name: `vllm:kv_host_${name}_total`,
      help,
      labelNames: ["engine"],
      registers,
      collect() {
        this.reset();
        const { page_bytes = 0, tensor_parallel_size = 1 } = source()?.capacity ?? {};
        for (const [i, { host }] of all()) this.inc({ engine: `${i}` }, read(host, page_bytes * tensor_parallel_size));
      },
    });
  }
}
