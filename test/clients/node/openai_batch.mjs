/** OpenAI's client for JavaScript: a file is uploaded, its batch awaited, and its answers read. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { default: OpenAI, toFile } = await import(pathToFileURL(require.resolve("openai")).href);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

const names = Array.from({ length: 20 }, (_, i) => `row-${i}`);
const body = { model, messages: [{ role: "user", content: "Hello!" }], max_tokens: 4 };
const lines = names.map((custom_id) =>
  JSON.stringify({ custom_id, method: "POST", url: "/v1/chat/completions", body }),
);
const file = await client.files.create({
  file: await toFile(Buffer.from(lines.join("\n")), "in.jsonl"),
  purpose: "batch",
});
assert.equal(file.purpose, "batch");
let batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
});
while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  batch = await client.batches.retrieve(batch.id);
}
assert.equal(batch.status, "completed");
assert.equal(batch.request_counts.completed, names.length);
const text = await (await client.files.content(batch.output_file_id)).text();
const answers = text
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));
assert.deepEqual(answers.map(({ custom_id }) => custom_id).sort(), names.toSorted());
for (const { response } of answers) assert.ok(response.body.choices[0].message.content);
const listed = [];
for await (const one of client.files.list({ limit: 1 })) listed.push(one.id);
assert.ok(listed.includes(file.id) && listed.includes(batch.output_file_id));
assert.equal((await client.files.delete(file.id)).deleted, true);
