/**
 * Streams: prints an answer piece by piece while it is generated, and stops it after ten seconds.
 * Run: bun examples/stream.ts [MODEL]    MODEL is a directory or "org/name" on the hub (default: the built-in model).
 */
import { Fastgen, FastgenError } from "fastgen";

await using fastgen = await Fastgen.load(process.argv[2]);

const prompt = { messages: [{ role: "user", content: "Write a haiku about the sea." }] };
const generation = await fastgen.start(prompt, { max_tokens: 256 }, { signal: AbortSignal.timeout(10_000) });
try {
  for await (const { text, finish_reason } of generation) {
    process.stdout.write(text);
    if (finish_reason) console.log(`\n[${finish_reason}: ${generation.usage.completion_tokens} tokens]`);
  }
} catch (error) {
  if (!(error instanceof FastgenError && error.kind === "aborted")) throw error;
  console.log("\n[stopped after ten seconds]");
}
