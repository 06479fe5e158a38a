/** Random requests that the server must answer, each with a seed of its own: its answer depends on nothing else. */

/** Uniform in [0, 1). */
export type Random = () => number;

export const pick = <T>(random: Random, choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!;
export const chance = (random: Random, probability: number) => random() < probability;

export interface Request {
  path: "/v1/chat/completions" | "/v1/completions";
  body: Record<string, unknown> & { stream: boolean };
}

const TEXTS = [
  "Hello!",
  "What is 17 + 25?",
  "Spell banana.",
  "Reverse the word stone.",
  "Write a haiku about rain. ".repeat(8),
  "Which day comes after Monday? 🙂 Grüße, 你好, नमस्ते",
  "a b c d e f g h ".repeat(40),
];

/** One request. It asks for ids, so that answers can be compared to the token. */
export function makeRequest(random: Random): Request {
  const params: Record<string, unknown> = {
    seed: Math.floor(random() * 2 ** 31),
    max_tokens: 1 + Math.floor(random() * 48),
    temperature: pick(random, [0, 0.7, 1, 1.5]),
    return_token_ids: true,
  };
  const stream = chance(random, 0.5);
  const maybe = (name: string, values: readonly unknown[], probability = 0.2) => {
    if (chance(random, probability)) params[name] = pick(random, values);
  };
  maybe("top_p", [0.1, 0.5, 0.95, 1]);
  maybe("top_k", [1, 5, 50]);
  maybe("min_p", [0.01, 0.2]);
  maybe("n", [2, 3]);
  maybe("repetition_penalty", [0.8, 1.2]);
  maybe("presence_penalty", [-1, 1]);
  maybe("frequency_penalty", [-0.5, 0.5]);
  maybe("ignore_eos", [true], 0.4);
  maybe("min_tokens", [0, 1]);
  maybe("stop", ["e", ["the", " a"], "\n"]);
  maybe("logit_bias", [{ 5: 3, 9: -100 }]);
  const text = pick(random, TEXTS);
  if (chance(random, 0.5)) {
    const messages = [{ role: "user", content: text }];
    if (chance(random, 0.3)) messages.unshift({ role: "system", content: "You are a helpful assistant." });
    if (chance(random, 0.3)) params.logprobs = true;
    return { path: "/v1/chat/completions", body: { messages, stream, ...params } };
  }
  if (chance(random, 0.3)) params.logprobs = pick(random, [0, 2, 5]);
  if (chance(random, 0.2)) params.echo = true;
  const ids = Array.from({ length: 1 + Math.floor(random() * 150) }, () => 10 + Math.floor(random() * 200));
  const prompt = pick<unknown>(random, [text, ids, [text, "Hi"], [ids, ids.slice(0, 5)]]);
  return { path: "/v1/completions", body: { prompt, stream, ...params } };
}

/** What of an answer must not change, by choice. */
export interface Answer {
  text: string;
  ids: number[];
  reason: string | null;
}

interface Choice {
  index: number;
  text?: string;
  message?: { content: string };
  delta?: { content?: string };
  token_ids?: number[];
  finish_reason: string | null;
}

/** Reads the reply to a request, streamed or not. Throws when it is not a complete answer. */
export async function readAnswer(reply: Response, request: Request): Promise<Answer[]> {
  const answers: Answer[] = [];
  const add = (choice: Choice) => {
    answers[choice.index] ??= { text: "", ids: [], reason: null };
    const answer = answers[choice.index]!;
    answer.text += choice.text ?? choice.message?.content ?? choice.delta?.content ?? "";
    answer.ids.push(...(choice.token_ids ?? []));
    answer.reason = choice.finish_reason ?? answer.reason;
  };
  const text = await reply.text();
  if (!request.body.stream) for (const choice of JSON.parse(text).choices) add(choice);
  else {
    if (!text.endsWith("data: [DONE]\n\n"))
      throw new Error(`the stream ended with ${JSON.stringify(text.slice(-200))}`);
    for (const [, json] of text.matchAll(/^data: (\{.*)$/gm))
      for (const choice of JSON.parse(json!).choices) add(choice);
  }
  if (answers.some((answer) => answer.reason === null)) throw new Error("a choice has no finish_reason");
  return answers;
}
