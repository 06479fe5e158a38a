/**
 * What /metrics tells of KV pages: how many there are on each medium, those that went to the host and came back, and those
 * on disk (--kv-cache-dir). All 0 where there is no such medium.
 */
import { Counter, Gauge, type Registry } from "prom-client";
import type { FastgenApi, Stats } from "../../src/types.ts";

/** A total's help, and its value; `pageBytes` is a page's size on all devices. */
type Total = [help: string, read: (stats: Stats, pageBytes: number) => number];

const TOTALS: Record<string, Total> = {
  host_hits: ["Pages of prompts that were found on the host.", ({ host }) => host.hits],
  host_misses: ["Pages of prompts that were neither on the device nor on the host.", ({ host }) => host.misses],
  host_forgotten: [
    "Pages that can no longer be found, because others needed their room.",
    ({ host }) => host.forgotten,
  ],
  host_read_bytes: [
    "Bytes of pages copied from the host to the device.",
    ({ host }, pageBytes) => host.restored * pageBytes,
  ],
  host_written_bytes: [
    "Bytes of pages copied from the device to the host.",
    ({ host }, pageBytes) => host.saved * pageBytes,
  ],
  host_read_seconds: ["Time in which pages were copied from the host to the device.", ({ host }) => host.read_seconds],
  host_write_seconds: [
    "Time in which pages were copied from the device to the host.",
    ({ host }) => host.write_seconds,
  ],
  disk_hits: ["Pages of prompts that were read from disk.", ({ disk_hits }) => disk_hits],
  disk_misses: ["Pages of prompts that no level had.", ({ disk_misses }) => disk_misses],
  disk_skipped: ["Pages that were not written, because the disk did not keep up.", ({ disk_skipped }) => disk_skipped],
  disk_lost: ["Pages that were damaged or gone when they were to be read.", ({ disk_lost }) => disk_lost],
  disk_read_bytes: ["Bytes of pages read from disk.", ({ disk_hits }, pageBytes) => disk_hits * pageBytes],
  disk_written_bytes: ["Bytes of pages written to disk.", ({ disk_saved }, pageBytes) => disk_saved * pageBytes],
  disk_read_seconds: ["Time in which pages were read from disk.", ({ disk_read_seconds }) => disk_read_seconds],
  disk_write_seconds: ["Time in which pages were written to disk.", ({ disk_write_seconds }) => disk_write_seconds],
};

/** Pages by medium. */
type Media = { device: number; host: number; disk: number };

export function addKvMetrics(registers: Registry[], source: () => FastgenApi | null): void {
  const all = () => (source()?.engines ?? []).map(({ stats }) => stats).entries();
  const gauge = (name: string, help: string, read: (stats: Stats) => Media) =>
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
      name: `vllm:kv_${name}_total`,
      help,
      labelNames: ["engine"],
      registers,
      collect() {
        this.reset();
        const { page_bytes = 0, tensor_parallel_size = 1 } = source()?.capacity ?? {};
        for (const [i, stats] of all()) this.inc({ engine: `${i}` }, read(stats, page_bytes * tensor_parallel_size));
      },
    });
  }
}
