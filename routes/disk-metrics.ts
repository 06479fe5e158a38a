/** What /metrics tells of the KV cache on disk (--kv-cache-dir): all 0 where there is none. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { FastgenApi, Stats } from "../src/types.ts";

type Disk = Stats["disk"];

/** By name: what it says, and its value. `pageBytes` is a page's size on disk. */
const TOTALS: Record<string, [help: string, read: (disk: Disk, pageBytes: number) => number]> = {
  hits: ["Pages of prompts that were read from disk.", ({ hits }) => hits],
  misses: ["Pages of prompts that no level had.", ({ misses }) => misses],
  skipped: ["Pages that were not written, because the disk did not keep up.", ({ skipped }) => skipped],
  lost: ["Pages that were damaged or gone when they were to be read.", ({ lost }) => lost],
  read_bytes: ["Bytes of pages read from disk.", ({ hits }, pageBytes) => hits * pageBytes],
  written_bytes: ["Bytes of pages written to disk.", ({ saved }, pageBytes) => saved * pageBytes],
  read_seconds: ["Time in which pages were read from disk.", ({ read_seconds }) => read_seconds],
  write_seconds: ["Time in which pages were written to disk.", ({ write_seconds }) => write_seconds],
};

export function addDiskMetrics(registers: Registry[], source: () => FastgenApi | null): void {
  const gauge = (name: string, help: string, read: (disk: Disk) => number) =>
    new Gauge({
      name: `vllm:${name}`,
      help,
      labelNames: ["medium"],
      registers,
      collect() {
        const fastgen = source();
        this.set({ medium: "disk" }, fastgen ? read(fastgen.stats.disk) : 0);
      },
    });
  gauge("kv_pages", "KV pages that hold something.", ({ pages }) => pages);
  gauge("kv_pages_capacity", "KV pages that there is room for.", ({ capacity }) => capacity);
  for (const [name, [help, read]] of Object.entries(TOTALS)) {
    new Counter({
      name: `vllm:kv_disk_${name}_total`,
      help,
      registers,
      collect() {
        const fastgen = source();
        this.reset();
        if (!fastgen) return;
        const { page_bytes, tensor_parallel_size } = fastgen.capacity;
        this.inc(read(fastgen.stats.disk, page_bytes * tensor_parallel_size));
      },
    });
  }
}
