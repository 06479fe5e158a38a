/**
 * Works through a dataset, as a reinforcement-learning loop or a synthetic-data job does: reads JSON lines with "messages",
 * writes a JSON line per answer with its token ids and their log probabilities. Answers come in the order in which they
 * finish; "line" says which input each belongs to. Only the items in progress are in memory, however long the input is.
 * Run: bun examples/dataset.ts [MODEL] < examples/dataset.jsonl > answers.jsonl
 * MODEL is a directory or "org/name" on the hub (default: the built-in model).
 */
import { type BatchInput, type ChatMessage, Fastgen } from "fastgen";

await using fastgen = await Fastgen.load(process.argv[2]);

/** Line number of each item in progress, by its place among the inputs of generateAll. */
const lines = new Map<number, number>();

async function write(result: object): Promise<void> {
  await Bun.write(Bun.stdout, `${JSON.stringify(result)}\n`);
}

/** The items of the input. A line that is not one is answered with its error. */
async function* items(): AsyncGenerator<BatchInput> {
  let [line, place] = [0, 0];
  for await (const text of console) {
    line++;
    if (text.trim() === "") continue;
    let messages: ChatMessage[];
    try {
      ({ messages } = JSON.parse(text));
      if (!Array.isArray(messages)) throw new Error('"messages" must be an array');
    } catch (error) {
      await write({ line, error: String(error) });
      continue;
    }
    lines.set(place++, line);
    // With a seed per item, the same input gives the same answers, whatever else runs.
    yield { prompt: { messages }, params: { seed: line } };
  }
}

const params = { temperature: 0.8, max_tokens: 128, logprobs: 0 };
for await (const { index, completion, error } of fastgen.generateAll(items(), params)) {
  const line = lines.get(index);
  lines.delete(index);
  if (error) await write({ line, error: error.message });
  for (const { text, token_ids, logprobs, finish_reason } of completion?.choices ?? []) {
    await write({ line, text, token_ids, logprobs: logprobs?.map(({ logprob }) => logprob), finish_reason });
  }
}
const { generated_tokens, prefix_hit_tokens } = fastgen.stats;
console.error(`${generated_tokens} tokens generated, ${prefix_hit_tokens} prompt tokens found in the prefix cache`);
