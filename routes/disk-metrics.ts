/** What /metrics tells of the KV cache on disk (--kv-cache-dir): all 0 where there is none. */
import { Counter, type Registry } from "prom-client";
import type { FastgenApi, Stats } from "../src/types.ts";

/** By name: what it says, and its value. `pageBytes` is a page's size on disk. */
const TOTALS: Record<string, [help: string, read: (stats: Stats, pageBytes: number) => number]> = {
  hits: ["Pages of prompts that were read from disk.", ({ disk_hits }) => disk_hits],
  misses: ["Pages of prompts that no level had.", ({ disk_misses }) => disk_misses],
  skipped: ["Pages that were not written, because the disk did not keep up.", ({ disk_skipped }) => disk_skipped],
  lost: ["Pages that were damaged or gone when they were to be read.", ({ disk_lost }) => disk_lost],
  read_bytes: ["Bytes of pages read from disk.", ({ disk_hits }, pageBytes) => disk_hits * pageBytes],
  written_bytes: ["Bytes of pages written to disk.", ({ disk_saved }, pageBytes) => disk_saved * pageBytes],
  read_seconds: ["Time in which pages were read from disk.", ({ disk_read_seconds }) => disk_read_seconds],
  write_seconds: ["Time in which pages were written to disk.", ({ disk_write_seconds }) => disk_write_seconds],
};

export function addDiskMetrics(registers: Registry[], source: () => FastgenApi | null): void {
  const stats = () => (source()?.engines ?? []).map((engine) => engine.stats).entries();
  for (const [name, [help, read]] of Object.entries(TOTALS)) {
    new Counter({
      name: `vllm:kv_disk_${name}_total`,
      help,
      labelNames: ["engine"],
      registers,
      collect() {
        this.reset();
        const { page_bytes = 0, tensor_parallel_size = 1 } = source()?.capacity ?? {};
        for (const [i, one] of stats()) this.inc({ engine: `${i}` }, read(one, page_bytes * tensor_parallel_size));
      },
    });
  }
}
