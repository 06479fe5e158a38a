/** OpenAI's client for JavaScript where answers are data: Zod's schemas, tools that it runs, streams of both. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { default: OpenAI } = await load("openai");
const { zodResponseFormat, zodFunction } = await load("openai/helpers/zod");
const { z } = await load("zod");

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const Trip = z.object({ city: z.enum(["Bonn", "Rome"]), express: z.boolean() });
const messages = [{ role: "user", content: "Plan a trip." }];
const request = { model, messages, temperature: 0, max_tokens: 300 };

const parsed = await client.chat.completions.parse({ ...request, response_format: zodResponseFormat(Trip, "trip") });
assert.deepEqual(Trip.parse(parsed.choices[0].message.parsed), parsed.choices[0].message.parsed);

const tool = zodFunction({ name: "plan_trip", parameters: Trip, description: "Plans a trip." });
const forced = { ...request, tools: [tool], tool_choice: "required", parallel_tool_calls: false };
const called = await client.chat.completions.parse(forced);
const [call] = called.choices[0].message.tool_calls;
assert.equal(called.choices[0].finish_reason, "tool_calls");
Trip.parse(call.function.parsed_arguments);
const stream = client.chat.completions.stream(forced);
const deltas = [];
stream.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => deltas.push(arguments_delta));
const final = await stream.finalChatCompletion();
assert.equal(deltas.join(""), call.function.arguments);
assert.equal(final.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);

const trips = [];
const plan = (trip) => {
  trips.push(trip);
  return "done";
};
const runnable = { type: "function", function: { ...tool.function, function: plan, parse: JSON.parse } };
const tool_choice = { type: "function", function: { name: "plan_trip" } };
const runner = client.chat.completions.runTools({ ...request, tools: [runnable], tool_choice });
await runner.done();
assert.equal(trips.length, 1);
Trip.parse(trips[0]);
console.log("openai tools for node", "done");
