/**
 * Prints how the built-in model scores on its held-out conversations, with greedy decoding.
 *
 *     bun models/evaluate.ts [--model DIR] [--device cpu|cuda|auto]   through the library
 *     bun models/evaluate.ts --url http://127.0.0.1:5678              through a running server
 *     --wrong                                                          also prints each wrong answer
 */
import { parseArgs } from "node:util";
import { Fastgen } from "../src/fastgen.ts";
import type { LoadOptions } from "../src/types.ts";
import { type Answer, cases, grade } from "./grading.ts";

const MAX_TOKENS = 96;
const PARALLEL = 32;

interface Subject {
  name: string;
  answer: Answer;
  close(): Promise<void>;
}

async function library(model: string | undefined, device: LoadOptions["device"]): Promise<Subject> {
  const fastgen = await Fastgen.load(model, { device });
  return {
    name: `${fastgen.model.name} on ${fastgen.capacity.device_name}`,
    answer: async (messages) => {
      const { choices } = await fastgen.generate({ messages }, { temperature: 0, max_tokens: MAX_TOKENS });
      return choices[0]!.text;
    },
    close: () => fastgen.close(),
  };
}

async function server(url: string): Promise<Subject> {
  const ask = async (path: string, body?: object) => {
    const init = body && {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    };
    const response = await fetch(new URL(path, url), init);
    if (!response.ok) throw new Error(`${path}: HTTP ${response.status}: ${await response.text()}`);
    return response.json();
  };
  const listed = (await ask("/v1/models")) as { data: { id: string }[] };
  const model = listed.data[0]!.id;
  return {
    name: `${model} at ${url}`,
    answer: async (messages) => {
      const body = { model, messages, temperature: 0, max_tokens: MAX_TOKENS };
      const completion = (await ask("/v1/chat/completions", body)) as { choices: { message: { content: string } }[] };
      return completion.choices[0]!.message.content;
    },
    close: async () => {},
  };
}

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    device: { type: "string" },
    url: { type: "string" },
    wrong: { type: "boolean", default: false },
  },
});
const subject = values.url
  ? await server(values.url)
  : await library(values.model, values.device as LoadOptions["device"]);
try {
  const { scores, wrong } = await grade(subject.answer, cases, PARALLEL);
  if (values.wrong) for (const line of wrong) console.log(line);
  console.log(subject.name);
  for (const [task, { right, all }] of scores) {
    const share = ((100 * right) / all).toFixed(1);
    console.log(
      `${task.padEnd(28)} ${String(right).padStart(4)} of ${String(all).padStart(4)}  ${share.padStart(5)} %`,
    );
  }
} finally {
  await subject.close();
}
