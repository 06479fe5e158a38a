/** OpenAI's client for JavaScript: its helpers for streams, raw replies, aborts, errors; and what it sends from web pages. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")).href);

const sent = [];
const client = new OpenAI({
  baseURL: `${url}/v1`,
  apiKey: "none",
  maxRetries: 0,
  dangerouslyAllowBrowser: true,
  fetch(target, init) {
    sent.push(...new Headers(init.headers).keys());
    return fetch(target, init);
  },
});
const messages = [{ role: "user", content: "What is the capital of France?" }];
const request = { model, messages, temperature: 0, max_completion_tokens: 12 };

const { data, response, request_id } = await client.chat.completions.create(request).withResponse();
assert.equal(response.headers.get("x-request-id"), request_id);
const text = data.choices[0].message.content;
assert.ok(text);

const stream = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
let pieces = "";
stream.on("content", (delta) => {
  pieces += delta;
});
assert.equal(await stream.finalContent(), text);
assert.equal(pieces, text);
assert.deepEqual(await stream.totalUsage(), data.usage);
assert.equal((await client.chat.completions.parse(request)).choices[0].message.content, text);

const endless = await client.chat.completions.create({ model, messages, stream: true, ignore_eos: true });
for await (const chunk of endless) {
  assert.equal(chunk.object, "chat.completion.chunk");
  break;
}
assert.ok(endless.controller.signal.aborted);

const asked = { model, input: messages, temperature: 0, max_output_tokens: 12 };
const answer = await client.responses.create(asked);
assert.ok(answer.output_text);
const events = client.responses.stream(asked);
let deltas = "";
events.on("response.output_text.delta", ({ delta }) => {
  deltas += delta;
});
assert.equal((await events.finalResponse()).output_text, answer.output_text);
assert.equal(deltas, answer.output_text);
const next = await client.responses.create({ ...asked, input: "And of Italy?", previous_response_id: answer.id });
assert.equal((await client.responses.retrieve(next.id)).output_text, next.output_text);
await client.responses.delete(next.id);

const prompts = { model, prompt: ["One, two,", "A, B,"], max_tokens: 2, logprobs: 1, user: "ann" };
assert.equal((await client.completions.create(prompts)).choices.length, 2);

await assert.rejects(client.chat.completions.create({ ...request, top_p: 2 }), (error) => {
  return error instanceof OpenAI.BadRequestError && error.param === "top_p" && error.requestID !== null;
});
await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);

// Before a page's request, the browser asks whether these headers may be sent.
const headers = [...new Set(sent)].join(",");
assert.match(headers, /x-stainless-lang/);
const preflight = await fetch(`${url}/v1/chat/completions`, {
  method: "OPTIONS",
  headers: {
    origin: "http://localhost:3000",
    "access-control-request-method": "POST",
    "access-control-request-headers": headers,
  },
});
assert.equal(preflight.status, 204);
const allowed = preflight.headers.get("access-control-allow-headers").toLowerCase();
for (const name of headers.split(",")) assert.ok(allowed.split(/,\s*/).includes(name), name);
console.log("openai for node", "done");
