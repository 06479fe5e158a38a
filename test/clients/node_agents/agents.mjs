/**
 * Two coding agents, Claude Code over messages and Codex over responses: each reads a file by a tool of its own and answers.
 * What they send goes to the server as it is, but for what this model would not find out by itself: which tool to call with
 * what, and what to answer then.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";

const [url, model, modules] = process.argv.slice(2);
const ANSWER = "The file is read.";
/** What the file holds: only the tool can have told it. */
const SECRET = "violets-4711";

const folder = mkdtempSync(path.join(tmpdir(), "agents-"));
const [home, project] = [path.join(folder, "home"), path.join(folder, "project")];
for (const made of [home, project]) mkdirSync(made);
const file = path.join(project, "notes.txt");
writeFileSync(file, `${SECRET}\n`);

/** A schema of nothing else than these arguments. */
function exactly(values) {
  const properties = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { const: value }]));
  return { type: "object", properties, required: Object.keys(values), additionalProperties: false };
}

/** Tools of which the one of this name takes what it is told to. */
function told(tools, name, schema) {
  return tools.map((tool) => (tool.name === name ? { ...tool, ...schema } : tool));
}

/** Passes requests on. Those that have tools are told what to answer: a call first, and once its result is there, a text. */
async function between(agent) {
  const seen = [];
  const server = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    let body = Buffer.concat(pieces).toString();
    const sent = body === "" ? {} : JSON.parse(body);
    const turn = sent.tools?.length > 0;
    const knows = turn && agent.knows(sent);
    if (turn) {
      body = JSON.stringify({ ...sent, ...(knows ? agent.saying(ANSWER) : agent.calling(sent.tools)) });
    }
    const { host, connection, "content-length": length, "accept-encoding": encoding, ...headers } = request.headers;
    const reply = await fetch(url + request.url, { method: request.method, headers, ...(body && { body }) });
    response.writeHead(reply.status, { "content-type": reply.headers.get("content-type") ?? "text/plain" });
    let text = "";
    const decoder = new TextDecoder();
    for await (const piece of reply.body ?? []) {
      text += decoder.decode(piece, { stream: true });
      response.write(piece);
    }
    response.end();
    seen.push({ path: request.url, status: reply.status, turn, knows, sent, text });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { seen, url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

async function run(program, args, env) {
  const child = spawn(path.join(modules, "node_modules/.bin", program), args, {
    cwd: project,
    env: { PATH: process.env.PATH, HOME: home, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  const code = await new Promise((ended) => child.on("close", ended));
  return { code, stdout, stderr };
}

const AGENTS = {
  "claude code": {
    calling: (tools) => ({
      tools: told(tools, "Read", { input_schema: exactly({ file_path: file }) }),
      tool_choice: { type: "tool", name: "Read" },
    }),
    saying: (answer) => ({ tool_choice: { type: "none" }, structured_outputs: { choice: [answer] } }),
    knows: ({ messages }) =>
      messages.some(({ content }) => Array.isArray(content) && content.some(({ type }) => type === "tool_result")),
    path: "/v1/messages",
    start: (address) =>
      run("claude", ["-p", "What do my notes say?", "--allowedTools", "Read"], {
        ANTHROPIC_BASE_URL: address,
        ANTHROPIC_API_KEY: "none",
        ANTHROPIC_MODEL: model,
        ANTHROPIC_SMALL_FAST_MODEL: model,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_AUTOUPDATER: "1",
      }),
  },
  codex: {
    calling: (tools) => ({
      tools: told(tools, "exec_command", { parameters: exactly({ cmd: "cat notes.txt" }) }),
      tool_choice: { type: "function", name: "exec_command" },
    }),
    saying: (answer) => ({ tool_choice: "none", structured_outputs: { choice: [answer] } }),
    knows: ({ input }) => input.some(({ type }) => type === "function_call_output"),
    path: "/v1/responses",
    start: (address) => {
      const config = [
        `model = "${model}"`,
        'model_provider = "own"',
        'web_search = "disabled"',
        "[model_providers.own]",
        'name = "own"',
        `base_url = "${address}/v1"`,
        'wire_api = "responses"',
      ];
      mkdirSync(path.join(home, ".codex"));
      writeFileSync(path.join(home, ".codex/config.toml"), config.join("\n"));
      const args = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];
      return run("codex", [...args, "What do my notes say?"], {});
    },
  },
};

try {
  for (const [name, agent] of Object.entries(AGENTS)) {
    const proxy = await between(agent);
    const { code, stdout, stderr } = await agent.start(proxy.url);
    proxy.close();
    const turns = proxy.seen.filter(({ turn }) => turn);
    const refused = proxy.seen.filter(({ path, status }) => status !== 200 && path.startsWith("/v1"));
    const about = JSON.stringify({
      name,
      code,
      stdout,
      stderr,
      refused: refused.map(({ path, text }) => [path, text]),
    });
    assert.equal(code, 0, about);
    assert.ok(stdout.includes(ANSWER), about);
    assert.deepEqual(refused, [], about);
    assert.deepEqual(
      turns.map(({ path, knows }) => [path.split("?")[0], knows]),
      [
        [agent.path, false],
        [agent.path, true],
      ],
      about,
    );
    assert.ok(JSON.stringify(turns[1].sent).includes(SECRET), about);
  }
  console.log("agents", "done");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
