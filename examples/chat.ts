/**
 * Chats: every line of the input is a message, and the model sees the whole conversation so far.
 * Run: bun examples/chat.ts [MODEL]    MODEL is a directory or "org/name" on the hub (default: the built-in model).
 */
import { type ChatMessage, Fastgen } from "fastgen";

await using fastgen = await Fastgen.load(process.argv[2]);
console.log("Type a message; Ctrl-D ends the chat.");

const messages: ChatMessage[] = [];
for await (const line of console) {
  if (line === "") continue;
  messages.push({ role: "user", content: line });
  // The prefix cache holds the earlier messages in pages of 64 tokens: no full page is computed again.
  const generation = await fastgen.start({ messages }, { max_tokens: 256 });
  let answer = "";
  for await (const { text } of generation) {
    process.stdout.write(text);
    answer += text;
  }
  console.log(`\n[${generation.usage.cached_tokens} of ${generation.usage.prompt_tokens} prompt tokens were cached]`);
  messages.push({ role: "assistant", content: answer });
}
