/** A batch on a server that is killed and started again, with the executable. Needs ./fgserve (npm run build). */
import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { missing, type RunningServer, startServer, until } from "./server.ts";

const REQUESTS = 400;
const why = missing ? ` (skipped: ${missing})` : "";

const lines = Array.from({ length: REQUESTS }, (_, i) =>
  JSON.stringify({
    custom_id: `r${i}`,
    method: "POST",
    url: "/v1/completions",
    body: { prompt: `${i} is`, max_tokens: 20, ignore_eos: true },
  }),
);

// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the reply holds
const json = async (reply: Promise<Response>): Promise<any> => (await reply).json();

async function createBatch({ url }: RunningServer): Promise<string> {
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", new File([lines.join("\n")], "in.jsonl"));
  const file = await json(fetch(`${url}/v1/files`, { method: "POST", body: form }));
  const body = { input_file_id: file.id, endpoint: "/v1/completions", completion_window: "24h" };
  const headers = { "content-type": "application/json" };
  return (await json(fetch(`${url}/v1/batches`, { method: "POST", body: JSON.stringify(body), headers }))).id;
}

test.skipIf(missing !== null)(
  `a server that is killed and started again finishes its batch, each request once${why}`,
  async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "fgserve-batches-"));
    const start = () => startServer(["--batch-dir", folder, "--max-num-seqs", "8"], null);
    const written = () => {
      const files = path.join(folder, "files");
      if (!existsSync(files)) return 0;
      return readdirSync(files).reduce((sum, name) => sum + statSync(path.join(files, name)).size, 0);
    };
    let server = await start();
    try {
      const id = await createBatch(server);
      for (const signal of ["SIGKILL", "SIGKILL", "SIGTERM"] as const) {
        const before = written();
        await until(() => written() > before + 5000);
        server.kill(signal);
        await server.exited;
        server = await start();
      }
      const batch = () => json(fetch(`${server.url}/v1/batches/${id}`));
      await until(async () => (await batch()).status === "completed", 60_000);
      const { request_counts, output_file_id } = await batch();
      expect(request_counts).toEqual({ total: REQUESTS, completed: REQUESTS, failed: 0 });
      const text = await (await fetch(`${server.url}/v1/files/${output_file_id}/content`)).text();
      const ids = text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).custom_id);
      expect(ids).toHaveLength(REQUESTS);
      expect(new Set(ids).size).toBe(REQUESTS);
    } finally {
      await server.stop();
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);
