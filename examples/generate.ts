/**
 * Generates: one prompt, then many at once, whose answers come as they finish.
 * Run: bun examples/generate.ts [MODEL]    MODEL is a directory or "org/name" on the hub (default: the built-in model).
 */
import { Fastgen } from "fastgen";

await using fastgen = await Fastgen.load(process.argv[2]);
const { name, device, max_model_len } = fastgen.model;
console.log(`${name} on ${device}, up to ${max_model_len} tokens per sequence\n`);

const ask = (content: string) => ({ messages: [{ role: "user", content }] });
const { choices, usage } = await fastgen.generate(ask("What is 17 + 25?"), { temperature: 0, max_tokens: 64 });
console.log(choices[0]?.text);
console.log(`${usage.prompt_tokens} prompt tokens, ${usage.completion_tokens} generated\n`);

// The engine runs these side by side. A prompt that fails yields its error and leaves the others alone.
const questions = ["How do you spell rhythm?", "Which month follows December?", "Write a haiku about the moon."];
for await (const { index, completion, error } of fastgen.generateAll(questions.map(ask), { max_tokens: 64 })) {
  console.log(`> ${questions[index]}`);
  console.log(error ? `failed: ${error.message}` : completion.choices[0]?.text);
}
