/** Vercel's AI SDK: generateText and streamText over its OpenAI-compatible provider, and over OpenAI's by responses, chat and completion. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const load = async (name) => import(pathToFileURL(require.resolve(name)).href);
const { generateText, streamText, APICallError } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");

const options = { baseURL: `${url}/v1`, apiKey: "none" };
const compatible = createOpenAICompatible({ name: "fastgen", includeUsage: true, ...options });
const openai = createOpenAI(options);
for (const served of [
  compatible(model),
  compatible.completionModel(model),
  openai(model),
  openai.chat(model),
  openai.completion(model),
]) {
  const call = {
    model: served,
    system: "Be brief.",
    prompt: "Say hello.",
    maxOutputTokens: 12,
    temperature: 0,
    maxRetries: 0,
  };
  const whole = await generateText(call);
  assert.ok(whole.text.length > 0 && whole.usage.outputTokens > 0);
  const stream = streamText(call);
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  assert.equal(text, whole.text);
  assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
}
const call = { model: compatible(model), maxRetries: 0 };
await assert.rejects(generateText({ ...call, prompt: "word ".repeat(100_000) }), (error) => {
  return APICallError.isInstance(error) && error.message.includes("maximum context length");
});
const several = await Promise.all(
  Array.from({ length: 8 }, (_, seed) => generateText({ ...call, prompt: "Hi", maxOutputTokens: 4, seed })),
);
assert.equal(several.length, 8);
console.log("vercel ai", "done");
