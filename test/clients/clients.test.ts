/**
 * Programs that people have, unchanged, against the executable with the built-in model: each is a script in this folder, run in
 * an environment of its own that scripts/fetch-clients.sh makes. docs/clients.md has the table.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import * as path from "node:path";
import { builtInModel, missing, type RunningServer, startServer } from "../server.ts";

const here = import.meta.dir;
const root = path.dirname(path.dirname(here));
const environments = path.join(root, ".cache/clients");
const tokenizer = path.join(root, "models/fastgen-tiny");
/** Milliseconds. Some of these programs start a dozen processes of their own. */
const PATIENCE = 180_000;

/** The script of each client (`tools`: the server's template takes tools), the environment that it runs in, and what it wants beside the server's URL and the model's name. */
const CLIENTS: {
  name: string;
  environment: string;
  script: string;
  args?: string[];
  env?: Record<string, string>;
  tools?: boolean;
  /** Writes code: its requests have tens of thousands of tokens. */
  agent?: boolean;
}[] = [
  { name: "openai", environment: "openai", script: "openai_client.py" },
  { name: "openai responses", environment: "openai", script: "openai_responses_client.py", tools: true },
  { name: "openai batches", environment: "openai", script: "openai_batch_client.py" },
  {
    name: "openai batches for node",
    environment: "node",
    script: "node/openai_batch.mjs",
    args: [path.join(environments, "node")],
  },
  { name: "openai-agents", environment: "openai_agents", script: "agents_client.py", tools: true },
  { name: "anthropic", environment: "anthropic", script: "anthropic_client.py", tools: true },
  {
    name: "anthropic for node",
    environment: "node_anthropic",
    script: "node_anthropic/anthropic_node.mjs",
    args: [path.join(environments, "node_anthropic")],
    tools: true,
  },
  { name: "litellm", environment: "litellm", script: "litellm_client.py" },
  { name: "litellm tools", environment: "litellm", script: "litellm_tools_client.py", tools: true },
  { name: "langchain-openai", environment: "langchain", script: "langchain_client.py" },
  { name: "llama-index", environment: "llama_index", script: "llama_index_client.py" },
  { name: "llama-index tools", environment: "llama_index", script: "llama_index_tools_client.py", tools: true },
  { name: "dspy", environment: "dspy", script: "dspy_client.py", tools: true },
  { name: "prometheus_client", environment: "prometheus", script: "prometheus_client_reads.py" },
  { name: "lm-eval", environment: "lm_eval", script: "lm_eval_client.py", args: [tokenizer] },
  { name: "trl", environment: "trl", script: "trl_client.py", args: [tokenizer] },
  { name: "prime-rl", environment: "prime_rl", script: "prime_rl_client.py", args: [tokenizer] },
  { name: "skyrl", environment: "skyrl", script: "skyrl_client.py" },
  { name: "verl", environment: "verl", script: "verl_client.py" },
  {
    name: "guidellm",
    environment: "guidellm",
    script: "guidellm_client.py",
    args: [tokenizer],
    // PyTorch's place is taken by a few lines, and the datasets library must not look for the rest of it.
    env: { PYTHONPATH: path.join(here, "stubs"), USE_TORCH: "0" },
  },
  { name: "aiperf", environment: "aiperf", script: "aiperf_client.py", args: [tokenizer] },
  { name: "vllm-router", environment: "vllm_router", script: "routers.py", args: ["vllm-router"] },
  { name: "smg", environment: "smg", script: "routers.py", args: ["smg"] },
  { name: "sglang-router", environment: "sglang_router", script: "routers.py", args: ["sglang-router"] },
  {
    name: "openai for node",
    environment: "node",
    script: "node/openai_node.mjs",
    args: [path.join(environments, "node")],
  },
  { name: "vercel ai", environment: "node", script: "node/vercel_ai.mjs", args: [path.join(environments, "node")] },
  { name: "openai tools", environment: "openai", script: "openai_tools_client.py", tools: true },
  { name: "langchain tools", environment: "langchain", script: "langchain_tools_client.py", tools: true },
  { name: "instructor", environment: "instructor", script: "instructor_client.py", tools: true },
  { name: "pydantic-ai", environment: "pydantic_ai", script: "pydantic_ai_client.py", tools: true },
  {
    name: "openai tools for node",
    environment: "node",
    script: "node/openai_tools.mjs",
    args: [path.join(environments, "node")],
    tools: true,
  },
  {
    name: "coding agents",
    environment: "node_agents",
    script: "node_agents/agents.mjs",
    args: [path.join(environments, "node_agents")],
    agent: true,
  },
  { name: "aider", environment: "aider", script: "aider_client.py", agent: true },
  {
    name: "vercel ai tools",
    environment: "node",
    script: "node/vercel_ai_tools.mjs",
    args: [path.join(environments, "node")],
    tools: true,
  },
];

/** What the pinned lists ask for by name: the clients, in each list the first, and their versions. */
function pinned(): [name: string, version: string][] {
  const dependencies = (folder: string) =>
    JSON.parse(readFileSync(path.join(here, folder, "package.json"), "utf8")).dependencies;
  const lists = [...new Bun.Glob("*.in").scanSync(path.join(here, "requirements"))];
  return [
    ["ai", dependencies("node").ai],
    ["openai", dependencies("node").openai],
    ["@anthropic-ai/sdk", dependencies("node_anthropic")["@anthropic-ai/sdk"]],
    ...Object.entries<string>(dependencies("node_agents")),
    ...lists.map((list): [string, string] => {
      const text = readFileSync(path.join(here, "requirements", list), "utf8");
      const [, name, version] = /^([\w.-]+)(?:\[[\w,]+\])?==(\S+)/.exec(text)!;
      return [name!, version!];
    }),
  ];
}

test("docs/clients.md has every client that is run, with the version of its pinned list", () => {
  const page = readFileSync(path.join(root, "docs/clients.md"), "utf8");
  const [, table] = /## On every change\n([^#]*)/.exec(page)!;
  const rows = [...table!.matchAll(/^\| `([^`]+)`[^|]*\| (\S+) \|/gm)].map((row) => `${row[1]} ${row[2]}`);
  expect(rows.sort()).toEqual(
    pinned()
      .map(([name, version]) => `${name} ${version}`)
      .sort(),
  );
});

describe.skipIf(missing !== null)(`clients (${missing ?? "executable"})`, () => {
  let server: RunningServer;
  /** The built-in model's own template has no place for tools and their results. */
  let withTools: RunningServer;
  /** A long context, and a template that makes a short prompt of it. */
  let forAgents: RunningServer;
  beforeAll(async () => {
    server = await startServer(["--served-model-name", "tiny"], null);
    const template = (name: string) => ["--served-model-name", "tiny", "--chat-template", path.join(here, name)];
    withTools = await startServer(template("tools.jinja"), null);
    forAgents = await startServer(template("agents.jinja"), builtInModel("long-model", 131_072));
  });
  afterAll(() => Promise.all([server?.stop(), withTools?.stop(), forAgents?.stop()]));

  for (const { name, environment, script, args = [], env = {}, tools = false, agent = false } of CLIENTS) {
    const folder = path.join(environments, environment);
    const installed = existsSync(
      path.join(folder, environment.startsWith("node") ? "installed.json" : "installed.txt"),
    );
    const title = installed ? name : `${name} (needs scripts/fetch-clients.sh)`;
    test.skipIf(!installed)(
      title,
      async () => {
        const program = environment.startsWith("node") ? "node" : path.join(folder, "bin/python");
        const { url } = agent ? forAgents : tools ? withTools : server;
        const child = Bun.spawn([program, path.join(here, script), url, "tiny", ...args], {
          env: { ...process.env, PYTHONWARNINGS: "ignore", ...env },
          stdout: "pipe",
          stderr: "pipe",
        });
        const [stdout, stderr, code] = await Promise.all([
          new Response(child.stdout).text(),
          new Response(child.stderr).text(),
          child.exited,
        ]);
        expect({ code, ...(code !== 0 && { stdout: stdout.slice(-2000), stderr: stderr.slice(-3000) }) }).toEqual({
          code: 0,
        });
        expect(stdout).not.toBe("");
      },
      PATIENCE * Math.max(1, 4 / availableParallelism()),
    );
  }

  test("every script of this folder is run", async () => {
    const scripts = await Array.fromAsync(new Bun.Glob("**/*.{py,mjs}").scan(here));
    const run = new Set(CLIENTS.map(({ script }) => script));
    expect(scripts.filter((file) => !file.startsWith("stubs/") && !run.has(file))).toEqual([]);
  });
});
