/** Bugs planted in routes: chat, and the conversation that all APIs share. */
import { inFile, type PlantedBug } from "./bugs.ts";

const CHAT = ["routes/chat.test.ts", "routes/chat-tools.test.ts"];

export const chatBugs: PlantedBug[] = [
  ...inFile("routes/chat-frames.ts", CHAT, [
    ["this.#returnIds && this.#isFirst", "this.#returnIds", "the prompt's ids stand on each choice's first frame"],
    [
      "finish_reason === null && !logprobs && !ids) return out;",
      "finish_reason === null && !ids) return out;",
      "log probabilities of text held back are lost",
    ],
    ["JSON.stringify(chunk.stop_reason)}`", "JSON.stringify(null)}`", "a stream has no stop_reason"],
  ]),
];
