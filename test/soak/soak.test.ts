/** A few seconds of test/soak/soak.ts. Hours: bun test/soak/soak.ts --seconds 3600. */
import { expect, test } from "bun:test";
import { missing, startServer } from "../server.ts";
import { CROWDED, soak } from "./soak.ts";

test.skipIf(missing !== null)(
  `mixed and hostile traffic changes no answer and leaves nothing behind (${missing ?? "built-in model"})`,
  async () => {
    const server = await startServer(["--disable-log-requests", ...CROWDED], null);
    try {
      const report = await soak(server.url, server.pid, { seconds: 8, seed: 7, clients: 16, requests: 30 });
      expect(report.faults).toEqual([]);
      for (const what of ["seeded 200", "left early", "fuzzed 200", "fuzzed 400", "half sent", "health"]) {
        expect([what, report.counts[what] ?? 0]).toEqual([what, expect.any(Number)]);
        expect(report.counts[what] ?? 0).toBeGreaterThan(0);
      }
    } finally {
      await server.stop();
    }
  },
);
