/** fastgen.ray and examples/ray, with Ray itself on this machine: two replicas, and what happens when one is killed. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import * as path from "node:path";
import { freePort } from "../src/testing.ts";
import { missing, until } from "./server.ts";

const root = path.dirname(import.meta.dir);
const environment = path.join(root, ".cache/clients/ray");
const why = missing ?? (existsSync(path.join(environment, "installed.txt")) ? null : "needs scripts/fetch-clients.sh");
/** Milliseconds. Ray starts a dozen processes, and each replica some more. */
const PATIENCE = 300_000 * Math.max(1, 4 / availableParallelism());

const variables = {
  ...process.env,
  FASTGEN_EXECUTABLE: path.join(root, "fgserve"),
  PYTHONPATH: path.join(root, "python"),
  PYTHONDONTWRITEBYTECODE: "1",
  RAY_USAGE_STATS_ENABLED: "0",
};

function start(program: string, args: string[], cwd: string) {
  const command = [path.join(environment, "bin", program), ...args];
  return Bun.spawn(command, { cwd, env: variables, stdout: "pipe", stderr: "pipe" });
}

/** What a program prints. */
async function run(program: string, args: string[], cwd = root): Promise<string> {
  const child = start(program, args, cwd);
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ code, ...(code !== 0 && { out: out.slice(-5000), err: err.slice(-5000) }) }).toEqual({ code: 0 });
  return out;
}

describe.skipIf(why !== null)(`Ray${why === null ? "" : ` (${why})`}`, () => {
  test(
    "actors, data sets and apps: python/tests/test_ray.py",
    async () => {
      const out = await run(
        "python",
        ["-m", "pytest", "-q", "-W", "ignore", "--durations=5", "tests/test_ray.py"],
        path.join(root, "python"),
      );
      console.log(out);
      expect(out).toMatch(/\n\d+ passed in /);
    },
    PATIENCE,
  );

  test(
    "examples/ray/actors.py",
    async () => {
      const out = await run("python", ["examples/ray/actors.py"]);
      const answers = out.split("\n").filter((line) => line.startsWith("What is "));
      expect(answers).toHaveLength(100);
      expect(answers[23]).toBe("What is 22 + 23? 22 + 23 = 45.");
    },
    PATIENCE,
  );

  test(
    "examples/ray/dataset.py",
    async () => {
      const folder = mkdtempSync(path.join(tmpdir(), "fastgen-ray-"));
      try {
        const lines = readFileSync(path.join(root, "examples/dataset.jsonl"), "utf8").trim().split("\n").length;
        const out = await run("python", ["examples/ray/dataset.py", "examples/dataset.jsonl", folder]);
        expect(out).toContain(`${lines} answers, of which 0 are errors`);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    PATIENCE,
  );

  test(
    "examples/ray/serve.yaml",
    async () => {
      const folder = mkdtempSync(path.join(tmpdir(), "fastgen-ray-"));
      const file = path.join(folder, "serve.yaml");
      const port = String(freePort());
      writeFileSync(file, readFileSync(path.join(root, "examples/ray/serve.yaml"), "utf8").replace("8000", port));
      const child = start("serve", ["run", file], folder);
      const said = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
      try {
        const messages = [{ role: "user", content: "What is 17 + 25?" }];
        await until(async () => {
          if (child.exitCode !== null) throw new Error((await said).join("").slice(-3000));
          const reply = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ messages, temperature: 0 }),
          }).catch(() => null);
          // Until the app is there, Serve says that nothing is, or that it is on its way.
          if (!reply || reply.status === 404 || reply.status === 503) return false;
          expect(reply.status).toBe(200);
          const completion = (await reply.json()) as { choices: { message: { content: string } }[] };
          expect(completion.choices[0]!.message.content).toBe("17 + 25 = 42.");
          return true;
        }, PATIENCE / 2);
      } finally {
        child.kill("SIGINT");
        await child.exited;
        rmSync(folder, { recursive: true });
      }
    },
    PATIENCE,
  );
});
