/** Vercel's AI SDK where answers are data: objects and tools, by chat and by responses, whole and streamed. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { generateObject, generateText, streamObject, streamText, tool } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { z } = await load("zod");

const options = { baseURL: `${url}/v1`, apiKey: "none" };
const compatible = createOpenAICompatible({ name: "fastgen", supportsStructuredOutputs: true, ...options });
const openai = createOpenAI(options);
const schema = z.object({ city: z.enum(["Bonn", "Rome"]), express: z.boolean() });
for (const served of [compatible(model), openai(model), openai.chat(model)]) {
  const call = { model: served, prompt: "Plan a trip.", maxOutputTokens: 300, temperature: 0, maxRetries: 0 };
  const { object } = await generateObject({ ...call, schema });
  assert.deepEqual(schema.parse(object), object);
  const growing = streamObject({ ...call, schema });
  let last;
  for await (const partial of growing.partialObjectStream) last = partial;
  assert.deepEqual(last, object);

  const tools = { plan_trip: tool({ description: "Plans a trip.", inputSchema: schema }) };
  for (const toolChoice of ["required", { type: "tool", toolName: "plan_trip" }]) {
    const { toolCalls } = await generateText({ ...call, tools, toolChoice });
    assert.ok(toolCalls.length > 0);
    for (const { toolName, input } of toolCalls) {
      assert.equal(toolName, "plan_trip");
      assert.deepEqual(schema.parse(input), input);
    }
    const streamed = await streamText({ ...call, tools, toolChoice }).toolCalls;
    assert.deepEqual(
      streamed.map(({ input }) => input),
      toolCalls.map(({ input }) => input),
    );
  }
}
console.log("vercel ai tools", "done");
